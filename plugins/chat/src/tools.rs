//! Functions that the model may call: how they are told to a model whose template has no place for them, and what an
//! answer must look like that has to call one.

use dunlin_guest::{Error, Message, Role, ToolDef};
use serde_json::{Value, json};

use crate::calls::{CLOSE, OPEN};

/// Whether the model calls a function.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Choice {
    /// As it likes.
    #[default]
    Auto,
    /// It is not told of any.
    None,
    /// It has to, whichever.
    Required,
    /// This one.
    Function(String),
}

impl Choice {
    /// # Errors
    /// If there is no such function, or none at all.
    pub(crate) fn read(text: Option<&str>, tools: &[ToolDef]) -> Result<Self, Error> {
        let choice = match text {
            None | Some("auto") => Self::Auto,
            Some("none") => Self::None,
            Some("required") => Self::Required,
            Some(name) => Self::Function(name.to_owned()),
        };
        match &choice {
            Self::Required if tools.is_empty() => {
                Err(Error::invalid("the parameter \"tool_choice\" is \"required\": there are no tools"))
            }
            Self::Function(name) if tools.iter().all(|tool| tool.name != *name) => Err(Error::invalid(
                format!("the parameter \"tool_choice\" is {name:?}: there is no such tool"),
            )),
            _ => Ok(choice),
        }
    }

    /// What the answer must match, if the choice says so: the call as JSON.
    ///
    /// # Errors
    /// If the parameters of a function are no JSON.
    pub(crate) fn schema(&self, tools: &[ToolDef]) -> Result<Option<String>, Error> {
        let is_meant = |tool: &&ToolDef| match self {
            Self::Function(name) => tool.name == *name,
            _ => true,
        };
        if matches!(self, Self::Auto | Self::None) {
            return Ok(None);
        }
        let calls = tools.iter().filter(is_meant).enumerate().map(|(index, tool)| {
            let mut parameters: Value = serde_json::from_str(&tool.parameters_schema).map_err(|error| {
                Error::invalid(format!("the parameters of {:?} are no JSON schema: {error}", tool.name))
            })?;
            // What it refers to within itself is further down now.
            move_references(&mut parameters, &format!("#/anyOf/{index}/properties/arguments/"));
            Ok(json!({
                "type": "object",
                "properties": { "name": { "const": tool.name }, "arguments": parameters },
                "required": ["name", "arguments"],
                "additionalProperties": false,
            }))
        });
        let calls = calls.collect::<Result<Vec<_>, Error>>()?;
        Ok(Some(json!({ "anyOf": calls }).to_string()))
    }
}

fn move_references(value: &mut Value, to: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(reference) if key == "$ref" => {
                        if let Some(path) = reference.strip_prefix("#/") {
                            *reference = format!("{to}{path}");
                        } else if reference == "#" {
                            *reference = to.trim_end_matches('/').to_owned();
                        }
                    }
                    value => move_references(value, to),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, to)),
        _ => {}
    }
}

/// Tells of the functions in words, and of calls that were made before: for templates that have no place for either.
pub(crate) fn in_words(messages: Vec<Message>, tools: &[ToolDef]) -> Vec<Message> {
    let mut told: Vec<Message> = messages.into_iter().map(message).collect();
    let Some(instructions) = instructions(tools) else { return told };
    match told.first_mut().filter(|first| first.role == Role::System) {
        Some(system) => system.content = format!("{}\n\n{instructions}", system.content),
        None => told.insert(0, Message::system(instructions)),
    }
    told
}

fn instructions(tools: &[ToolDef]) -> Option<String> {
    if tools.is_empty() {
        return None;
    }
    let functions: String = tools
        .iter()
        .map(|tool| {
            let name = json!(tool.name);
            let description = json!(tool.description);
            let parameters = &tool.parameters_schema;
            format!("{{\"name\": {name}, \"description\": {description}, \"parameters\": {parameters}}}\n")
        })
        .collect();
    Some(format!(
        "You can call these functions:\n{functions}To call one, answer with nothing but\n\
         {OPEN}{{\"name\": NAME, \"arguments\": {{...}}}}{CLOSE}"
    ))
}

fn message(message: Message) -> Message {
    if message.role == Role::Tool {
        let content = format!("<tool_response>{}</tool_response>", message.content);
        return Message::new(Role::User, content);
    }
    let calls: String = message
        .tool_calls
        .iter()
        .map(|call| {
            let name = json!(call.name);
            format!("{OPEN}{{\"name\": {name}, \"arguments\": {}}}{CLOSE}", call.arguments_json)
        })
        .collect();
    Message { content: message.content + &calls, tool_calls: Vec::new(), ..message }
}

#[cfg(test)]
mod tests {
    use dunlin_guest::ToolCall;

    use super::*;

    fn tool(name: &str, schema: &str) -> ToolDef {
        ToolDef { name: name.into(), description: "d".into(), parameters_schema: schema.into() }
    }

    fn choice(text: &str, tools: &[ToolDef]) -> Result<Option<String>, String> {
        let choice = Choice::read(Some(text), tools).and_then(|choice| choice.schema(tools));
        choice.map_err(|error| match error {
            Error::InvalidArgument(why) => why,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_call_that_has_to_be_is_json_of_one_of_them() {
        let tools = [
            tool(
                "a",
                r##"{"type":"object","properties":{"x":{"$ref":"#/$defs/X"}},"$defs":{"X":{"type":"string"}}}"##,
            ),
            tool("b", "{}"),
        ];
        assert_eq!(choice("auto", &tools), Ok(None));
        let schema = choice("required", &tools).unwrap().unwrap();
        assert!(schema.contains(r##""$ref":"#/anyOf/0/properties/arguments/$defs/X""##), "{schema}");
        assert!(schema.contains(r#""const":"b""#));
        assert!(!choice("b", &tools).unwrap().unwrap().contains(r#""const":"a""#));
        assert_eq!(
            choice("c", &tools).unwrap_err(),
            "the parameter \"tool_choice\" is \"c\": there is no such tool"
        );
        assert!(choice("required", &[]).unwrap_err().ends_with("there are no tools"));
    }

    #[test]
    fn functions_and_their_calls_can_be_told_in_words() {
        let called = Message {
            tool_calls: vec![ToolCall { id: "1".into(), name: "a".into(), arguments_json: "{}".into() }],
            ..Message::assistant("")
        };
        let told =
            in_words(vec![Message::user("go"), called, Message::new(Role::Tool, "done")], &[tool("a", "{}")]);
        let told: Vec<String> =
            told.iter().map(|message| format!("{:?}: {}", message.role, message.content)).collect();
        assert_eq!(
            told,
            [
                "Role::System: You can call these functions:\n{\"name\": \"a\", \"description\": \"d\", \"parameters\": {}}\n\
                 To call one, answer with nothing but\n<tool_call>{\"name\": NAME, \"arguments\": {...}}</tool_call>",
                "Role::User: go",
                "Role::Assistant: <tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>",
                "Role::User: <tool_response>done</tool_response>",
            ]
        );
    }
}
