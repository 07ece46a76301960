//! Checks of single values that several resources share. Each is given known values only.

use std::time::Duration;

use spectra_types::HumanDuration;
use tfplugin::Value;

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The names of a map of variables: what Railway and every shell accept.
pub(crate) fn variable_names(value: &Value) -> Result<(), String> {
    let Value::Map(entries) = value else { return Ok(()) };
    for (name, value) in entries {
        if value.is_null() {
            return Err(format!(
                "`{name}` is null: leave it out to have no such variable, or set it to an empty string"
            ));
        }
        let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty()
            || name.starts_with(|first: char| first.is_ascii_digit())
            || !name.chars().all(legal)
        {
            return Err(format!(
                "`{name}` is not a variable name: letters, digits and underscores only, not starting with a digit"
            ));
        }
        if name.starts_with("RAILWAY_") {
            return Err(format!(
                "`{name}` is supplied by Railway itself: names starting with `RAILWAY_` are taken"
            ));
        }
    }
    Ok(())
}

/// A duration that Railway can keep: it counts in whole seconds.
pub(crate) fn whole_seconds(value: &Value) -> Result<(), String> {
    let Some(Ok(duration)) = text(value).map(str::parse::<HumanDuration>) else { return Ok(()) };
    let duration = Duration::from(duration);
    if duration.subsec_nanos() != 0 {
        return Err("Railway counts in whole seconds".to_owned());
    }
    if i32::try_from(duration.as_secs()).is_err() {
        return Err("it is longer than Railway can keep (2^31 seconds)".to_owned());
    }
    Ok(())
}

/// A public key that signatures can be checked with.
pub(crate) fn public_key(value: &Value) -> Result<(), String> {
    let Some(key) = text(value) else { return Ok(()) };
    spectra_sign::PublicKey::parse(key).map(drop).map_err(|error| error.to_string())
}

/// Whose certificates count.
pub(crate) fn identity(value: &Value) -> Result<(), String> {
    let Some(identity) = text(value) else { return Ok(()) };
    identity.parse::<spectra_sign::IdentityPattern>().map(drop).map_err(|error| error.to_string())
}

/// For whose code something has to be signed.
pub(crate) fn source_repository(value: &Value) -> Result<(), String> {
    let Some(repository) = text(value) else { return Ok(()) };
    repository.parse::<spectra_sign::SourceRepository>().map(drop).map_err(|error| error.to_string())
}

/// How many keys have to sign.
pub(crate) fn threshold(value: &Value) -> Result<(), String> {
    let Some(threshold) = text(value) else { return Ok(()) };
    threshold.parse::<spectra_sign::Threshold>().map(drop).map_err(|error| error.to_string())
}

/// Predicate types of attestations.
pub(crate) fn predicate_types(value: &Value) -> Result<(), String> {
    let (Value::List(items) | Value::Set(items)) = value else { return Ok(()) };
    for kind in items.iter().filter_map(text) {
        kind.parse::<spectra_sign::PredicateType>().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A duration above zero.
pub(crate) fn positive_duration(value: &Value) -> Result<(), String> {
    match text(value).map(str::parse::<HumanDuration>) {
        Some(Ok(duration)) if Duration::from(duration).is_zero() => {
            Err("it must be longer than zero".to_owned())
        }
        _ => Ok(()),
    }
}

/// An absolute path of a URL.
pub(crate) fn url_path(value: &Value) -> Result<(), String> {
    let Some(path) = text(value) else { return Ok(()) };
    if !path.starts_with('/') {
        return Err(format!("`{path}` must start with `/`"));
    }
    if path.starts_with("//") {
        return Err(format!("`{path}` starts with `//`, which names another host"));
    }
    if path.contains(char::is_whitespace) || path.contains('#') {
        return Err(format!("`{path}` contains a space or `#`, which a request's path cannot"));
    }
    Ok(())
}

/// An absolute http or https URL without credentials.
pub(crate) fn http_url(value: &Value) -> Result<(), String> {
    let Some(text) = text(value) else { return Ok(()) };
    let url = url::Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme is `{}`; only http and https can be probed", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds credentials, which would be stored in state".to_owned());
    }
    Ok(())
}

/// The largest number of replicas of any Railway plan (Enterprise).
pub(crate) const MAX_REPLICAS: i64 = 50;

/// Replicas by region: each between 1 and the largest plan's limit, and so is their sum.
pub(crate) fn region_replicas(value: &Value) -> Result<(), String> {
    let Value::Map(regions) = value else { return Ok(()) };
    if regions.is_empty() {
        return Err("at least one region is needed; leave the attribute out to let Railway choose".to_owned());
    }
    let mut sum = 0;
    for (region, replicas) in regions {
        let Value::Number(replicas) = replicas else { continue };
        match replicas.to_i64() {
            Some(replicas @ 1..=MAX_REPLICAS) => sum += replicas,
            _ => {
                return Err(format!(
                    "`{region}` is to have {replicas} replicas: 1 to {MAX_REPLICAS} are possible"
                ));
            }
        }
    }
    if sum > MAX_REPLICAS {
        return Err(format!("{sum} replicas over all regions: at most {MAX_REPLICAS} are possible"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key: &str, value: Value) -> Value {
        Value::Map([(key.to_owned(), value)].into())
    }

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn variable_names_are_shell_names() {
        for good in ["A", "_x", "PORT2"] {
            assert_eq!(variable_names(&map(good, string(""))), Ok(()), "{good}");
        }
        assert!(variable_names(&map("A", Value::Null)).is_err());
        for bad in ["", "2A", "A-B", "a b", "RAILWAY_TOKEN", "Ä"] {
            assert!(variable_names(&map(bad, string(""))).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_whole_and_fit() {
        assert!(whole_seconds(&string("90s")).is_ok());
        assert!(whole_seconds(&string("1500ms")).is_err());
        assert!(whole_seconds(&string("600000h")).is_err());
    }

    #[test]
    fn zero_is_not_positive() {
        assert!(positive_duration(&string("0s")).is_err());
        assert!(positive_duration(&string("1ms")).is_ok());
    }

    #[test]
    fn paths_are_absolute() {
        assert!(url_path(&string("/healthz?deep=1")).is_ok());
        assert!(url_path(&string("healthz")).is_err());
        assert!(url_path(&string("/a b")).is_err());
        assert!(url_path(&string("//elsewhere.example/")).is_err());
    }

    #[test]
    fn urls_hold_no_credentials() {
        assert!(http_url(&string("https://app.example/healthz")).is_ok());
        assert!(http_url(&string("ftp://app.example")).is_err());
        assert!(http_url(&string("https://u:p@app.example")).is_err());
        assert!(http_url(&string("app.example")).is_err());
    }

    #[test]
    fn replicas_stay_inside_the_largest_plan() {
        assert!(region_replicas(&map("us-west2", Value::Number(2.into()))).is_ok());
        assert!(region_replicas(&map("us-west2", Value::Number(0.into()))).is_err());
        assert!(region_replicas(&map("us-west2", Value::Number(51.into()))).is_err());
        assert!(region_replicas(&Value::Map(std::collections::BTreeMap::default())).is_err());
    }
}
