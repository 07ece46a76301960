//! A channel's own words: `{{title}} on {{field.environment}}`.

use serde::{Deserialize, Serialize};

use crate::message::Message;
use crate::text::{clean, html, mrkdwn, one_line, page};

/// Texts with the message's values in them.
///
/// Between `{{` and `}}` stands one of `event`, `severity`, `title`, `summary`, `key`, `time`, `fields`, `links`,
/// `field.NAME` and `link.NAME`. A field or link that a message does not have leaves nothing. Values are escaped for
/// where they go; the template's own text is the channel's: mrkdwn for Slack, plain text elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// Instead of the message's title: Slack's header, the mail's subject, the page's summary. One line, plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Instead of the summary, and in Slack and mails also of fields and links, which can be named in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What a text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Markup {
    Plain,
    Mrkdwn,
    Html,
}

impl Markup {
    pub(crate) fn escape(self, text: &str) -> String {
        match self {
            Self::Plain => clean(text),
            Self::Mrkdwn => mrkdwn(text),
            Self::Html => html(text).replace('\n', "<br>\n"),
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        match self {
            Self::Plain => clean(text),
            // Slack takes no line breaks between the stars.
            Self::Mrkdwn => format!("*{}*", mrkdwn(&one_line(text))),
            Self::Html => format!("<b>{}</b>", html(text)),
        }
    }

    pub(crate) fn link(self, name: &str, url: &str) -> String {
        match (self, page(url)) {
            (Self::Mrkdwn, Some(page)) => format!("<{}|{}>", mrkdwn(&page), mrkdwn(&one_line(name))),
            (Self::Html, Some(page)) => format!("<a href=\"{}\">{}</a>", html(&page), html(name)),
            // A scheme that is not shown as a link, or a place where there are none.
            _ => self.escape(&format!("{name}: {url}")),
        }
    }

    fn line_break(self) -> &'static str {
        match self {
            Self::Plain | Self::Mrkdwn => "\n",
            Self::Html => "<br>\n",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Event,
    Severity,
    Title,
    Summary,
    Key,
    Time,
    Fields,
    Links,
    Field(&'t str),
    Link(&'t str),
}

impl Template {
    /// Whether every name in it is known; the error says what is not.
    pub fn validate(&self) -> Result<(), String> {
        for (attribute, text) in [("title", &self.title), ("text", &self.text)] {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(format!("`template.{attribute}` is empty"));
            }
            parse(text).map_err(|problem| format!("`template.{attribute}` {problem}"))?;
        }
        Ok(())
    }

    /// The title, in one line of plain text, and the text in its markup, if the template has one. What [`validate`]
    /// refuses is shown as it stands.
    ///
    /// [`validate`]: Self::validate
    pub(crate) fn render(&self, message: &Message, markup: Markup) -> (String, Option<String>) {
        let title = self.title.as_deref().map(|title| fill(title, message, Markup::Plain));
        let title = one_line(title.as_deref().unwrap_or(&message.title));
        // Whoever reads it has to see something.
        let title = if title.is_empty() { one_line(message.event.as_str()) } else { title };
        (title, self.text.as_deref().map(|text| fill(text, message, markup)))
    }
}

fn fill(template: &str, message: &Message, markup: Markup) -> String {
    let pieces = parse(template).unwrap_or_else(|_| vec![Piece::Text(template)]);
    pieces.iter().map(|piece| value(piece, message, markup)).collect()
}

fn value(piece: &Piece<'_>, message: &Message, markup: Markup) -> String {
    match piece {
        // Slack's markup is what the author of the template may use; a mail's HTML is made from plain text.
        Piece::Text(text) if markup == Markup::Mrkdwn => clean(text),
        Piece::Text(text) => markup.escape(text),
        Piece::Event => markup.escape(message.event.as_str()),
        Piece::Severity => message.severity.as_str().to_owned(),
        Piece::Title => markup.escape(&message.title),
        Piece::Summary => markup.escape(&message.summary),
        Piece::Key => markup.escape(&message.key),
        Piece::Time => message.time.to_string(),
        Piece::Fields => fields(message, markup),
        Piece::Links => links(message, markup),
        Piece::Field(name) => {
            let field = message.fields.iter().find(|field| field.name == *name);
            field.map(|field| markup.escape(&field.value)).unwrap_or_default()
        }
        Piece::Link(name) => {
            let link = message.links.iter().find(|link| link.name == *name);
            link.map(|link| markup.link(&link.name, &link.url)).unwrap_or_default()
        }
    }
}

/// A line for each field.
pub(crate) fn fields(message: &Message, markup: Markup) -> String {
    let line = |name: &str, value: &str| format!("{}: {}", markup.bold(name), markup.escape(value));
    let lines: Vec<_> = message.fields.iter().map(|field| line(&field.name, &field.value)).collect();
    lines.join(markup.line_break())
}

/// A line for each link.
pub(crate) fn links(message: &Message, markup: Markup) -> String {
    let lines: Vec<_> = message.links.iter().map(|link| markup.link(&link.name, &link.url)).collect();
    lines.join(markup.line_break())
}

fn parse(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            return Err("has a `{{` without `}}`".to_owned());
        };
        pieces.push(Piece::Text(before));
        pieces.push(named(name.trim())?);
        rest = after;
    }
    if rest.contains("}}") {
        return Err("has a `}}` without `{{`".to_owned());
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn named(name: &str) -> Result<Piece<'_>, String> {
    Ok(match name {
        "event" => Piece::Event,
        "severity" => Piece::Severity,
        "title" => Piece::Title,
        "summary" => Piece::Summary,
        "key" => Piece::Key,
        "time" => Piece::Time,
        "fields" => Piece::Fields,
        "links" => Piece::Links,
        _ => match name.split_once('.') {
            Some(("field", field)) if !field.is_empty() => Piece::Field(field),
            Some(("link", link)) if !link.is_empty() => Piece::Link(link),
            _ => {
                return Err(format!(
                    "names `{name}`, which messages do not have; they have `event`, `severity`, `title`, `summary`, \
                     `key`, `time`, `fields`, `links`, `field.NAME` and `link.NAME`"
                ));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Event, Severity};

    fn message() -> Message {
        let time = "2026-08-01T10:00:00Z".parse().unwrap();
        Message::new(Event::ROLLOUT_STARTED, Severity::Info, "r-1", "api <2>", time)
            .with_summary("a & b\n<!channel>")
            .with_field("by", "\"eve\" <eve@example>")
            .with_link("run|1", "https://ci.example/?a=1&b=2|3")
            .with_link("bad", "javascript:alert(1)")
    }

    fn text(template: &str, markup: Markup) -> String {
        let template = Template { title: None, text: Some(template.to_owned()) };
        template.validate().unwrap();
        template.render(&message(), markup).1.unwrap()
    }

    #[test]
    fn values_are_escaped_for_where_they_go_and_slack_text_keeps_its_own_markup() {
        let template =
            "*{{ event }}* <b> {{summary}} by {{field.by}}{{field.none}} {{severity}} {{key}} {{time}}";
        assert_eq!(
            text(template, Markup::Mrkdwn),
            "*rollout.started* <b> a &amp; b\n&lt;!channel&gt; by \"eve\" &lt;eve@example&gt; info r-1 \
             2026-08-01T10:00:00Z"
        );
        assert_eq!(
            text(template, Markup::Html),
            "*rollout.started* &lt;b&gt; a &amp; b<br>\n&lt;!channel&gt; by &quot;eve&quot; &lt;eve@example&gt; \
             info r-1 2026-08-01T10:00:00Z"
        );
        assert!(
            text(template, Markup::Plain).contains("<b> a & b\n<!channel> by \"eve\" <eve@example> info")
        );
    }

    #[test]
    fn links_lead_to_pages_only_and_cannot_be_broken_out_of() {
        assert_eq!(
            text("{{links}}", Markup::Mrkdwn),
            "<https://ci.example/?a=1&amp;b=2%7C3|run|1>\nbad: javascript:alert(1)"
        );
        assert_eq!(
            text("{{link.run|1}} {{link.bad}}", Markup::Html),
            "<a href=\"https://ci.example/?a=1&amp;b=2%7C3\">run|1</a> bad: javascript:alert(1)"
        );
    }

    #[test]
    fn a_value_with_braces_in_it_is_not_filled_again() {
        let mut message = message();
        message.title = "{{key}}".to_owned();
        let template = Template { title: Some("{{title}}\n!".to_owned()), text: None };
        assert_eq!(template.render(&message, Markup::Plain), ("{{key}} !".to_owned(), None));
    }

    #[test]
    fn names_that_messages_do_not_have_are_refused() {
        for (wrong, said) in [
            ("{{user}}", "`user`"),
            ("{{field.}}", "`field.`"),
            ("{{}}", "``"),
            ("{{title", "without `}}`"),
            ("title}}", "without `{{`"),
            (" ", "empty"),
        ] {
            let template = Template { title: Some(wrong.to_owned()), text: None };
            let problem = template.validate().unwrap_err();
            assert!(problem.starts_with("`template.title`") && problem.contains(said), "{problem}");
        }
    }
}
