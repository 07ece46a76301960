//! `GetFunctions` and `CallFunction`.

use std::collections::BTreeMap;

use super::Service;
use super::messages::encode;
use super::text::harmless;
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::call_function::{Request, Response};
use crate::schema::function_to_proto;
use crate::{FunctionError, Provider, codec};

impl<P: Provider> Service<P> {
    pub(super) fn functions(&self) -> BTreeMap<String, proto::Function> {
        let functions = &self.0.registry.functions;
        functions
            .iter()
            .map(|(name, function)| ((*name).to_owned(), function_to_proto(function.info())))
            .collect()
    }

    pub(super) fn call_function(&self, request: &Request) -> Response {
        let count = request.arguments.len();
        match self.try_call(request) {
            Ok(result) => Response { result: Some(result), error: None },
            Err(error) => {
                // An index that is out of range is an error of its own in Terraform.
                let argument = error.argument.filter(|index| (*index as usize) < count).map(i64::from);
                let error = proto::FunctionError { text: harmless(error.text), function_argument: argument };
                Response { result: None, error: Some(error) }
            }
        }
    }

    fn try_call(&self, request: &Request) -> Result<proto::DynamicValue, FunctionError> {
        let Some(function) = self.0.registry.functions.get(request.name.as_str()) else {
            return Err(FunctionError::new(format!(
                "provider `{}` has no function `{}`; check the provider version in use",
                P::NAME,
                request.name
            )));
        };
        let info = function.info();
        let parameters = info.parameters.iter().chain(info.variadic.iter().cycle());
        let arguments = request
            .arguments
            .iter()
            .zip(parameters)
            .enumerate()
            .map(|(index, (argument, parameter))| {
                // A null argument comes as an empty message from OpenTofu.
                codec::decode_dynamic_value(&argument.msgpack, &argument.json, &parameter.ty).map_err(
                    |error| FunctionError {
                        text: format!("`{}` cannot be read: {error}", parameter.name),
                        argument: u32::try_from(index).ok(),
                    },
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        if arguments.len() < request.arguments.len() {
            return Err(FunctionError::new(format!(
                "`{}` takes {} arguments, not {}",
                info.name,
                info.parameters.len(),
                request.arguments.len()
            )));
        }
        let result = function.call(arguments)?;
        encode(&result, &info.result, "result").map_err(|diagnostic| FunctionError::new(diagnostic.detail))
    }
}
