//! `provider::spectra::duration`: a duration in seconds.

use spectra_types::HumanDuration;
use tfplugin::{Function, FunctionError, Model};

/// Seconds from a duration.
pub(crate) struct DurationFunction;

/// The parameters of `duration`.
#[derive(Clone, Debug, Model)]
pub(crate) struct DurationArguments {
    /// A duration with units: `90s`, `5m`, `1h30m`, `250ms`.
    duration: String,
}

impl Function for DurationFunction {
    type Arguments = DurationArguments;
    type Output = f64;

    const NAME: &'static str = "duration";
    const SUMMARY: &'static str = "Seconds from a duration";
    const DESCRIPTION: &'static str = "Parses a duration such as `1h30m` and returns it in seconds, with fractions \
        for units below a second. For comparing durations in preconditions and variable validation.";

    fn call(&self, arguments: Self::Arguments) -> Result<Self::Output, FunctionError> {
        let duration: HumanDuration = arguments
            .duration
            .parse()
            .map_err(|error| FunctionError { text: format!("{error}"), argument: Some(0) })?;
        Ok(std::time::Duration::from(duration).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(duration: &str) -> Result<f64, FunctionError> {
        DurationFunction.call(DurationArguments { duration: duration.to_owned() })
    }

    #[test]
    fn units_add_up() {
        assert!((call("1h30m").unwrap() - 5400.0).abs() < f64::EPSILON);
        assert!((call("250ms").unwrap() - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn bare_number_is_refused() {
        assert_eq!(call("90").unwrap_err().argument, Some(0));
    }
}
