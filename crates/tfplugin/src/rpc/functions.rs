//! Functions by value instead of by type.

use std::collections::{BTreeMap, BTreeSet};

use super::demands::demands;
use crate::convert::AttributeShape as _;
use crate::schema::{Block, Planning, conform, lint_rules};
use crate::{
    AttributePath, Diagnostic, FromValue as _, Function, FunctionError, Model as _, PathStep, Severity,
    ToValue as _, Type, Value,
};

/// The signature of a function.
pub(crate) struct FunctionInfo {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
    /// The parameters as a struct: what is demanded of them.
    pub(crate) arguments: Block,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) variadic: Option<Parameter>,
    pub(crate) result: Type,
    pub(crate) problems: Vec<String>,
}

/// One parameter.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) description: String,
    pub(crate) allow_null: bool,
    pub(crate) allow_unknown: bool,
}

/// A function of any type.
pub(crate) trait AnyFunction: Send + Sync {
    fn info(&self) -> &FunctionInfo;

    /// Calls the function; `arguments` are one value for each parameter, then the variadic ones.
    fn call(&self, arguments: Vec<Value>) -> Result<Value, FunctionError>;
}

/// A function of one type.
pub(crate) struct Callable<F> {
    function: F,
    info: FunctionInfo,
}

impl<F: Function> Callable<F> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, info: info::<F>() }
    }

    /// The position of an argument, from the place inside the struct of arguments.
    fn position(&self, path: &AttributePath) -> Option<u32> {
        let mut steps = path.steps().iter();
        let Some(PathStep::Attribute(name)) = steps.next() else { return None };
        let position =
            self.info.parameters.iter().position(|parameter| parameter.name == *name).or_else(|| {
                let Some(PathStep::Index(index)) = steps.next() else { return None };
                Some(self.info.parameters.len() + usize::try_from(*index).ok()?)
            })?;
        u32::try_from(position).ok()
    }

    fn refused(&self, diagnostic: Diagnostic) -> FunctionError {
        let argument = diagnostic.attribute.as_ref().and_then(|path| self.position(path));
        FunctionError { text: diagnostic.detail, argument }
    }
}

fn info<F: Function>() -> FunctionInfo {
    let block = F::Arguments::block();
    let fields = F::Arguments::fields();
    let mut problems = Vec::new();
    let mut problem = |text: String| problems.push(format!("function `{}`: {text}", F::NAME));
    if !identifier(F::NAME) {
        problem("its name is not an identifier".to_owned());
    }
    if !block.blocks.is_empty() {
        problem("its arguments cannot be blocks".to_owned());
    }
    let mut names = BTreeSet::new();
    let (mut parameters, mut variadic) = (Vec::new(), None);
    for attribute in block.attributes.clone() {
        if !names.insert(attribute.name.clone()) || !identifier(&attribute.name) {
            problem(format!("`{}` cannot be the name of a parameter", attribute.name));
        }
        if attribute.force_new || attribute.planning != Planning::default() {
            problem(format!("`{}` is an argument, and arguments are not planned", attribute.name));
        }
        let field = fields.iter().find(|field| field.name == attribute.name);
        let mut parameter = Parameter {
            ty: attribute.shape.implied_type(),
            name: attribute.name,
            description: attribute.description,
            allow_null: field.is_some_and(|field| field.accepts_null),
            allow_unknown: field.is_some_and(|field| field.accepts_unknown),
        };
        if field.is_some_and(|field| field.variadic) {
            match parameter.ty {
                Type::List(element) => parameter.ty = *element,
                _ => problem(format!("`{}` is variadic, so it must be a `Vec<…>`", parameter.name)),
            }
            variadic = Some(parameter);
        } else {
            parameters.push(parameter);
        }
    }
    let mut rules = Vec::new();
    lint_rules(&block.rules, &block.attributes, &[], &AttributePath::root(), &mut rules);
    rules.into_iter().for_each(&mut problem);
    FunctionInfo {
        name: F::NAME,
        summary: F::SUMMARY,
        description: F::DESCRIPTION,
        arguments: block,
        parameters,
        variadic,
        result: F::Output::shape().implied_type(),
        problems,
    }
}

fn identifier(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

impl<F: Function> AnyFunction for Callable<F> {
    fn info(&self) -> &FunctionInfo {
        &self.info
    }

    fn call(&self, mut arguments: Vec<Value>) -> Result<Value, FunctionError> {
        let expected = self.info.parameters.len();
        if arguments.len() < expected || (self.info.variadic.is_none() && arguments.len() > expected) {
            return Err(FunctionError::new(format!(
                "`{}` takes {expected} arguments, not {}",
                self.info.name,
                arguments.len()
            )));
        }
        let rest = arguments.split_off(expected);
        let mut object = BTreeMap::new();
        for (parameter, value) in self.info.parameters.iter().zip(arguments) {
            object.insert(parameter.name.clone(), value);
        }
        if let Some(parameter) = &self.info.variadic {
            object.insert(parameter.name.clone(), Value::List(rest));
        }
        let object = Value::Object(object);
        let demands = demands(&self.info.arguments, &object);
        if let Some(broken) = demands.into_iter().find(|message| message.severity == Severity::Error) {
            let detail = format!("{}: {}", broken.summary, broken.detail);
            return Err(self.refused(Diagnostic { detail, ..broken }));
        }
        let arguments = F::Arguments::from_value(&object, &AttributePath::root())
            .map_err(|diagnostic| self.refused(diagnostic))?;
        let output = self.function.call(arguments)?;
        conform(&output.to_value(), &self.info.result, &AttributePath::root()).map_err(|diagnostic| {
            FunctionError::new(format!(
                "`{}` produced a result that is not of its own type ({}): this is a mistake in the provider",
                self.info.name, diagnostic.detail
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;

    #[derive(Clone, Model)]
    #[tf(at_least_one_of("name", "part"))]
    struct Arguments {
        #[tf(validate(length(1..=3)))]
        name: Option<String>,
        part: Option<Part>,
    }

    #[derive(Clone, Model)]
    struct Part {
        #[tf(optional, conflicts_with("b"))]
        a: Option<String>,
        #[tf(optional, validate(length(1..=3)))]
        b: Option<String>,
    }

    struct Pick;

    impl Function for Pick {
        type Arguments = Arguments;
        type Output = String;

        const NAME: &'static str = "pick";
        const SUMMARY: &'static str = "Picks a text.";
        const DESCRIPTION: &'static str = "Picks a text.";

        fn call(&self, arguments: Arguments) -> Result<String, FunctionError> {
            let part = arguments.part.and_then(|part| part.a.or(part.b));
            Ok(arguments.name.or(part).unwrap_or_default())
        }
    }

    #[test]
    fn demands_on_arguments_hold_at_every_depth() {
        let pick = Callable::new(Pick);
        assert_eq!(pick.info().problems, Vec::<String>::new());
        let part = |a: Value, b: Value| Value::object([("a", a), ("b", b)]);
        let call = |name: Value, part: Value| pick.call(vec![name, part]);
        assert_eq!(call("x".into(), Value::Null), Ok("x".into()));
        let error = call(Value::Null, Value::Null).unwrap_err();
        assert!(error.text.contains("At least one of `name` and `part` must be set"), "{}", error.text);
        assert_eq!(error.argument, None);
        let error = call("long".into(), Value::Null).unwrap_err();
        assert!(error.text.starts_with("Invalid value for `name`: it has 4 characters"), "{}", error.text);
        assert_eq!(error.argument, Some(0));
        let error = call(Value::Null, part("x".into(), "y".into())).unwrap_err();
        assert!(error.text.contains("`part.a` cannot be set together with `part.b`"), "{}", error.text);
        assert_eq!(error.argument, Some(1));
        let error = call(Value::Null, part(Value::Null, "long".into())).unwrap_err();
        assert_eq!(error.argument, Some(1), "{}", error.text);
    }
}
