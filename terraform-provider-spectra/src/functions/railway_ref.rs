//! `provider::spectra::railway_ref`: a reference to another service's variable.

use tfplugin::{Function, FunctionError, Model};

/// A Railway reference variable.
pub(crate) struct RailwayRefFunction;

/// The parameters of `railway_ref`.
#[derive(Clone, Debug, Model)]
pub(crate) struct RailwayRefArguments {
    /// The name of the service, or `shared` for a variable of the environment.
    service: String,
    /// The name of the variable.
    variable: String,
}

impl Function for RailwayRefFunction {
    type Arguments = RailwayRefArguments;
    type Output = String;

    const NAME: &'static str = "railway_ref";
    const SUMMARY: &'static str = "A reference to another service's variable";
    const DESCRIPTION: &'static str = "Returns Railway's reference `${{service.VARIABLE}}`, which the platform \
        resolves when it deploys. Saves writing the escapes that HCL needs for `${`.";

    fn call(&self, arguments: Self::Arguments) -> Result<Self::Output, FunctionError> {
        let RailwayRefArguments { service, variable } = arguments;
        for (argument, (what, text)) in
            [("service", &service), ("variable", &variable)].into_iter().enumerate()
        {
            let problem = if text.trim().is_empty() {
                "is empty"
            } else if text.contains(['{', '}', '$']) {
                "contains `$`, `{` or `}`, which would end the reference"
            } else if argument == 1 && text.contains(['.', ' ']) {
                "contains a dot or a space; a variable's name has neither"
            } else {
                continue;
            };
            let text = format!("the {what} `{text}` {problem}");
            return Err(FunctionError { text, argument: u32::try_from(argument).ok() });
        }
        Ok(format!("${{{{{service}.{variable}}}}}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(service: &str, variable: &str) -> Result<String, FunctionError> {
        RailwayRefFunction
            .call(RailwayRefArguments { service: service.to_owned(), variable: variable.to_owned() })
    }

    #[test]
    fn reference_has_two_braces() {
        assert_eq!(call("Postgres", "DATABASE_URL").unwrap(), "${{Postgres.DATABASE_URL}}");
    }

    #[test]
    fn text_that_would_end_the_reference_is_refused() {
        assert_eq!(call("a}}", "X").unwrap_err().argument, Some(0));
        assert_eq!(call("a", "").unwrap_err().argument, Some(1));
        assert_eq!(call("a", "X.Y").unwrap_err().argument, Some(1));
    }
}
