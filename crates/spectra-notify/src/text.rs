//! Text on its way into other people's formats: cut to their limits, escaped by their rules.

use url::Url;

/// At most `limit` UTF-16 code units, the largest of the ways in which receivers count; what was cut ends in `…`.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    match place_to_cut(text, limit) {
        None => text.to_owned(),
        Some(at) => format!("{}…", &text[..at]),
    }
}

/// Like [`cut`], for text in which `&amp;` and the like must stay whole.
pub(crate) fn cut_escaped(text: &str, limit: usize) -> String {
    /// The longest entity that the functions below write, `&quot;`, without its end.
    const ENTITY: usize = "&quot".len();
    let Some(at) = place_to_cut(text, limit) else { return text.to_owned() };
    let kept = &text[..at];
    let torn = kept.rfind('&').filter(|amp| kept.len() - amp <= ENTITY && !kept[*amp..].contains(';'));
    format!("{}…", &kept[..torn.unwrap_or(kept.len())])
}

fn place_to_cut(text: &str, limit: usize) -> Option<usize> {
    let (mut units, mut room) = (0, 0);
    for (at, character) in text.char_indices() {
        // The mark needs one.
        if units < limit {
            room = at;
        }
        units += character.len_utf16();
        if units > limit {
            return Some(room);
        }
    }
    None
}

/// Without control characters, which mean something to mail servers and terminals; line breaks stay.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|character| *character == '\n' || !character.is_control()).collect()
}

/// One line: every run of white space is one space, and there are no other control characters.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(clean).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// For Slack: the three characters that begin entities, mentions and links.
pub(crate) fn mrkdwn(text: &str) -> String {
    clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// For HTML, in text and between double quotes.
pub(crate) fn html(text: &str) -> String {
    mrkdwn(text).replace('"', "&quot;").replace('\'', "&#39;")
}

/// The URL in its normal form if it leads to a page: a `javascript:` one in a mail would run.
pub(crate) fn page(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    // Both would end a link in Slack's markup.
    Some(url.as_str().replace('|', "%7C").replace('>', "%3E"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_longer_than_its_limit_nor_cut_without_need(text in "\\PC{0,40}", limit in 1_usize..40) {
            let units = text.encode_utf16().count();
            for output in [cut(&text, limit), cut_escaped(&text, limit)] {
                prop_assert!(output.encode_utf16().count() <= limit, "{output}");
                prop_assert_eq!(output == text, units <= limit);
            }
        }

        #[test]
        fn entities_stay_whole(text in "[a&<>\"']{0,30}", limit in 1_usize..40) {
            let output = cut_escaped(&html(&text), limit);
            for (at, _) in output.match_indices('&') {
                prop_assert!(output[at..].contains(';'), "{output}");
            }
        }
    }

    #[test]
    fn an_ampersand_far_from_the_cut_is_no_torn_entity() {
        assert_eq!(cut_escaped("a & 0123456789", 10), "a & 01234…");
        assert_eq!(cut_escaped("01234&amp;6789", 9), "01234…");
    }

    #[test]
    fn lines_and_links_cannot_break_out() {
        assert_eq!(one_line("rolled\r\nBcc: all@example  back\u{7}"), "rolled Bcc: all@example back");
        assert_eq!(mrkdwn("<!channel> & co"), "&lt;!channel&gt; &amp; co");
        assert_eq!(html("<a href='x'>\""), "&lt;a href=&#39;x&#39;&gt;&quot;");
        assert_eq!(page("javascript:alert(1)"), None);
        assert_eq!(page("https://ci.example/a|b#>").unwrap(), "https://ci.example/a%7Cb#%3E");
    }
}
