//! Functions by value instead of by type.

use std::collections::{BTreeMap, BTreeSet};

use crate::convert::AttributeShape as _;
use crate::schema::conform;
use crate::{
    AttributePath, Diagnostic, FromValue as _, Function, FunctionError, Model as _, PathStep, ToValue as _,
    Type, Value,
};

/// The signature of a function.
pub(crate) struct FunctionInfo {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
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
    validators: Vec<crate::schema::Validator>,
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
    for attribute in block.attributes {
        if !names.insert(attribute.name.clone()) || !identifier(&attribute.name) {
            problem(format!("`{}` cannot be the name of a parameter", attribute.name));
        }
        let field = fields.iter().find(|field| field.name == attribute.name);
        let mut parameter = Parameter {
            ty: attribute.shape.implied_type(),
            name: attribute.name,
            description: attribute.description,
            allow_null: field.is_some_and(|field| field.accepts_null),
            allow_unknown: field.is_some_and(|field| field.accepts_unknown),
            validators: attribute.validators,
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
    FunctionInfo {
        name: F::NAME,
        summary: F::SUMMARY,
        description: F::DESCRIPTION,
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
        for parameter in self.info.parameters.iter().chain(&self.info.variadic) {
            let value = object.get(&parameter.name).unwrap_or(&Value::Null);
            if value.is_null() || value.is_unknown() {
                continue;
            }
            for validator in &parameter.validators {
                (validator.check)(value).map_err(|reason| FunctionError {
                    text: format!("`{}`: {reason}", parameter.name),
                    argument: self.position(&parameter.name.as_str().into()),
                })?;
            }
        }
        let arguments = F::Arguments::from_value(&Value::Object(object), &AttributePath::root())
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
