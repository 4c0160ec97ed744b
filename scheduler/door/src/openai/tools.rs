//! Functions that the model may call, and whether it has to.

use serde_json::{Value, json};

use crate::{
    body::Fields,
    call::Call,
    error::{Answered, ApiError},
    limits::MAX_TOOLS,
    schema,
};

/// Characters of a name.
const MAX_NAME: usize = 64;

/// Tools as `chat` takes them, with the choice.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tools {
    pub(crate) list: Vec<Value>,
    pub(crate) choice: Option<String>,
}

impl Tools {
    /// `tools`, `tool_choice`, `parallel_tool_calls`.
    ///
    /// # Errors
    /// Names the field that is not as it should be.
    pub(super) fn read(fields: &mut Fields) -> Answered<Self> {
        let list = fields.list("tools")?.unwrap_or_default();
        let tools = list.iter().enumerate().map(|(index, tool)| {
            let param = format!("tools[{index}]");
            match tool.get("type").and_then(Value::as_str) {
                Some("function") => {}
                other => {
                    let message = format!("'{param}.type' is {other:?}: only functions are supported");
                    return Err(ApiError::unsupported(format!("{param}.type"), message));
                }
            }
            // Chats have it within `function`, responses do not.
            let of = tool.get("function").unwrap_or(tool);
            let text = |name| of.get(name).and_then(Value::as_str).unwrap_or_default();
            function(text("name"), text("description"), of.get("parameters"), &param)
        });
        let tools = Self { list: tools.collect::<Result<_, _>>()?, choice: None };
        let choice = fields.take("tool_choice").map(|choice| read_choice(&choice)).transpose()?;
        // One call at a time is what a constraint makes; without one, the model does as it does.
        fields.flag("parallel_tool_calls")?;
        tools.choosing(choice)
    }

    /// # Errors
    /// If there is nothing to choose from, or too much.
    pub(crate) fn choosing(mut self, choice: Option<String>) -> Answered<Self> {
        if self.list.len() > MAX_TOOLS {
            return Err(ApiError::invalid_field("tools", format!("'tools' has at most {MAX_TOOLS} of them")));
        }
        let is_there = |name: &str| self.list.iter().any(|tool| tool["function"]["name"] == name);
        match choice.as_deref() {
            None | Some("none" | "auto") => {}
            Some(_) if self.list.is_empty() => {
                return Err(ApiError::invalid_field(
                    "tool_choice",
                    "'tool_choice' is only allowed when 'tools' are specified",
                ));
            }
            Some("required") => {}
            Some(name) if is_there(name) => {}
            Some(name) => {
                let message = format!("'tool_choice' names {name:?}, which is none of 'tools'");
                return Err(ApiError::invalid_field("tool_choice", message));
            }
        }
        self.choice = choice;
        Ok(self)
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&str> {
        self.list.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect()
    }

    pub(crate) fn tell(&self, call: &mut Call) {
        call.param_if("tool_choice", self.choice.as_ref().filter(|_| !self.list.is_empty()));
    }
}

/// One tool, as `chat` takes it.
///
/// # Errors
/// If its name is none, or its parameters are no schema.
pub(crate) fn function(
    name: &str,
    description: &str,
    parameters: Option<&Value>,
    param: &str,
) -> Answered<Value> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    // These say something else where a function is chosen.
    let is_reserved = matches!(name, "auto" | "none" | "required");
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_name) || is_reserved {
        let message =
            format!("'{param}' is called {name:?}: a name has letters, digits, _ and -, at most {MAX_NAME}");
        return Err(ApiError::invalid_field(format!("{param}.function.name"), message));
    }
    let empty = json!({ "type": "object", "properties": {} });
    let parameters = parameters.filter(|parameters| !parameters.is_null()).unwrap_or(&empty);
    schema::checked(parameters, &format!("{param}.function.parameters"))?;
    Ok(json!({
        "type": "function",
        "function": { "name": name, "description": description, "parameters": parameters },
    }))
}

/// `auto`, `none`, `required`, or the name of a function.
fn read_choice(choice: &Value) -> Answered<String> {
    let named = |of: &Value| {
        let name = of.get("function").unwrap_or(of).get("name");
        name.and_then(Value::as_str).map(str::to_owned)
    };
    let found = match choice {
        Value::String(text) if matches!(text.as_str(), "auto" | "none" | "required") => Some(text.clone()),
        Value::Object(fields) if fields.get("type").is_some_and(|kind| kind == "function") => named(choice),
        _ => None,
    };
    found.ok_or_else(|| {
        let message = "'tool_choice' is \"auto\", \"none\", \"required\", or {\"type\": \"function\", \"function\": {\"name\": ...}}";
        ApiError::invalid_field("tool_choice", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Answered<Tools> {
        let Value::Object(fields) = json else { panic!("no object") };
        Tools::read(&mut Fields::new(fields))
    }

    #[test]
    fn tools_are_functions_with_names_and_schemas() {
        let chat =
            json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
        let response = json!({ "type": "function", "name": "g" });
        let choice = json!({ "type": "function", "function": { "name": "f" } });
        let tools = read(json!({ "tools": [chat, response], "tool_choice": choice })).unwrap();
        assert_eq!((tools.names(), tools.choice.as_deref()), (vec!["f", "g"], Some("f")));
        let param = |json| read(json).unwrap_err().param.unwrap();
        assert_eq!(param(json!({ "tools": [{ "type": "web_search" }] })), "tools[0].type");
        assert_eq!(
            param(json!({ "tools": [{ "type": "function", "name": "a b" }] })),
            "tools[0].function.name"
        );
        assert_eq!(
            param(json!({ "tools": [{ "type": "function", "name": "auto" }] })),
            "tools[0].function.name"
        );
        assert_eq!(param(json!({ "tool_choice": "required" })), "tool_choice");
        let unknown = json!({ "tools": [{ "type": "function", "name": "g" }], "tool_choice": { "type": "function", "name": "h" } });
        assert_eq!(param(unknown), "tool_choice");
    }
}
