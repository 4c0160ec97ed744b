//! From a body to a conversation: text is one message, JSON is many.

use dunlin_guest::{Error, Message, Role, ToolCall, ToolDef};
use serde_json::Value;

/// What is said before the answer.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<ToolDef>,
    /// The answer goes on from here: the last message was the assistant's.
    pub(crate) beginning: Option<String>,
}

impl Conversation {
    /// `[{"role", "content"}]`, or `{"messages": [...], "tools": [...]}`, or else one message of a user.
    ///
    /// # Errors
    /// If it is JSON and not a conversation, as far as it can be told from text that only looks like it.
    pub(crate) fn read(text: &str, is_json: bool) -> Result<Self, Error> {
        let parsed = match serde_json::from_str::<Value>(text) {
            Ok(value) if is_json || is_conversation(&value) => Self::parse(&value).map_err(Error::invalid),
            Err(error) if is_json || begins_like_messages(text) => {
                Err(Error::invalid(format!("the messages are not JSON: {error}")))
            }
            Ok(_) | Err(_) => Ok(Self { messages: vec![Message::user(text)], ..Self::default() }),
        };
        parsed.map(Self::with_beginning)
    }

    /// # Errors
    /// If there is a system message already.
    pub(crate) fn with_system(mut self, system: Option<&str>) -> Result<Self, Error> {
        let Some(system) = system else { return Ok(self) };
        if self.messages.first().is_some_and(|first| first.role == Role::System) {
            return Err(Error::invalid(
                "the messages begin with a system message: leave the parameter \"system\" out",
            ));
        }
        self.messages.insert(0, Message::system(system));
        Ok(self)
    }

    /// # Errors
    /// If they are not JSON, or not tools, or there are tools already.
    pub(crate) fn with_tools(mut self, text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text else { return Ok(self) };
        if !self.tools.is_empty() {
            return Err(Error::invalid("the input brings tools with it: leave the parameter \"tools\" out"));
        }
        let refuse = |why: String| Error::invalid(format!("the parameter \"tools\": {why}"));
        let value: Value =
            serde_json::from_str(text).map_err(|error| refuse(format!("not JSON: {error}")))?;
        self.tools = tools(&value).map_err(refuse)?;
        Ok(self)
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let (list, more) = match value {
            Value::Object(body) => (body.get("messages"), body.get("tools")),
            list => (Some(list), None),
        };
        let list = list
            .and_then(Value::as_array)
            .ok_or("messages are a list: [{\"role\": \"user\", \"content\": \"...\"}]")?;
        let messages = list
            .iter()
            .enumerate()
            .map(|(index, value)| message(value).map_err(|why| format!("messages[{index}]: {why}")));
        let messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
        if messages.is_empty() {
            return Err("there are no messages".into());
        }
        let tools = more.map_or(Ok(Vec::new()), tools)?;
        Ok(Self { messages, tools, beginning: None })
    }

    fn with_beginning(mut self) -> Self {
        let alone = self.messages.len() == 1;
        let is_begun =
            |last: &mut Message| !alone && last.role == Role::Assistant && last.tool_calls.is_empty();
        if let Some(last) = self.messages.pop_if(is_begun) {
            self.beginning = Some(last.content).filter(|content| !content.is_empty());
        }
        self
    }
}

fn is_conversation(value: &Value) -> bool {
    let is_message = |value: &Value| value.get("role").is_some();
    match value {
        Value::Array(list) => !list.is_empty() && list.iter().all(is_message),
        value => value.get("messages").is_some(),
    }
}

/// So that a missing comma is told, rather than shown to the model.
fn begins_like_messages(text: &str) -> bool {
    let begin: String = text.chars().filter(|c| !c.is_whitespace()).take(12).collect();
    [r#"[{"role":"#, r#"{"messages":"#].iter().any(|like| begin.starts_with(like))
}

fn message(value: &Value) -> Result<Message, String> {
    let role = match value.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some(other) => return Err(format!("the role {other:?} is none of system, user, assistant, tool")),
        None => return Err("it has no role".into()),
    };
    let tool_calls = value
        .get("tool_calls")
        .and_then(Value::as_array)
        .map_or(Ok(Vec::new()), |calls| calls.iter().map(tool_call).collect::<Result<_, _>>())?;
    let tool_call_id = value.get("tool_call_id").and_then(Value::as_str).map(str::to_owned);
    Ok(Message {
        content: content(value.get("content"))?,
        tool_calls,
        tool_call_id,
        ..Message::new(role, "")
    })
}

/// Text, nothing, or a list of parts that are text.
fn content(value: Option<&Value>) -> Result<String, String> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let text = |part: &Value| {
                part.get("text")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .ok_or("a part of its content is not text")
            };
            Ok(parts.iter().map(text).collect::<Result<String, _>>()?)
        }
        Some(_) => Err("its content is not text".into()),
    }
}

fn tool_call(value: &Value) -> Result<ToolCall, String> {
    let function = value.get("function").unwrap_or(value);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let arguments_json = match function.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "{}".into(),
    };
    let name = text(function, "name").ok_or("a tool call without a name")?;
    Ok(ToolCall { id: text(value, "id").unwrap_or_default(), name, arguments_json })
}

/// `[{"type": "function", "function": {"name", "description", "parameters"}}]`, or the functions alone.
fn tools(value: &Value) -> Result<Vec<ToolDef>, String> {
    let list = value.as_array().ok_or("tools are a list")?;
    list.iter().map(tool).collect()
}

fn tool(value: &Value) -> Result<ToolDef, String> {
    let function = value.get("function").unwrap_or(value);
    let name = function.get("name").and_then(Value::as_str).ok_or("a tool without a name")?;
    let description = function.get("description").and_then(Value::as_str).unwrap_or_default();
    let parameters_schema = match function.get("parameters") {
        Some(schema @ Value::Object(_)) => schema.to_string(),
        None | Some(Value::Null) => r#"{"type":"object","properties":{}}"#.into(),
        Some(_) => return Err(format!("the parameters of {name:?} are no JSON schema")),
    };
    Ok(ToolDef { name: name.to_owned(), description: description.to_owned(), parameters_schema })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per message, tool and beginning; or why not.
    fn read(text: &str) -> String {
        describe(Conversation::read(text, false))
    }

    fn describe(conversation: Result<Conversation, Error>) -> String {
        let conversation = match conversation {
            Ok(conversation) => conversation,
            Err(Error::InvalidArgument(why)) => return why,
            Err(other) => panic!("{other:?}"),
        };
        let messages = conversation.messages.iter().map(|message| {
            let calls = message
                .tool_calls
                .iter()
                .map(|call| format!(" {}({})#{}", call.name, call.arguments_json, call.id));
            let id = message.tool_call_id.iter().map(|id| format!(" #{id}"));
            format!("{:?}: {}{}", message.role, message.content, calls.chain(id).collect::<String>())
        });
        let tools = conversation
            .tools
            .iter()
            .map(|tool| format!("{}: {} {}", tool.name, tool.description, tool.parameters_schema));
        let beginning = conversation.beginning.iter().map(|text| format!("goes on: {text}"));
        messages.chain(tools).chain(beginning).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(read(text), expected);
    }

    #[test]
    fn text_is_one_message() {
        check("hello there", "Role::User: hello there");
        check("[kernel] oops", "Role::User: [kernel] oops");
        check(r#"{"level": "warn"}"#, r#"Role::User: {"level": "warn"}"#);
        check("[1, 2]", "Role::User: [1, 2]");
        check("[]", "Role::User: []");
    }

    #[test]
    fn json_is_a_conversation() {
        check(
            r#"[{"role": "developer", "content": "Be brief."}, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "role": "user"}]"#,
            "Role::System: Be brief.\nRole::User: ab",
        );
        check(
            r#"{"messages": [{"role": "user", "content": "restart it"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "restart", "arguments": "{\"unit\":\"sshd\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "done"}],
              "tools": [{"type": "function", "function": {"name": "restart", "description": "Restarts a unit.", "parameters": {"type": "object"}}}, {"name": "status"}]}"#,
            "Role::User: restart it\nRole::Assistant:  restart({\"unit\":\"sshd\"})#c1\nRole::Tool: done #c1\nrestart: Restarts a unit. {\"type\":\"object\"}\nstatus:  {\"type\":\"object\",\"properties\":{}}",
        );
    }

    #[test]
    fn an_answer_that_was_begun_goes_on() {
        check(
            r#"[{"role": "user", "content": "count"}, {"role": "assistant", "content": "one, "}]"#,
            "Role::User: count\ngoes on: one, ",
        );
    }

    #[test]
    fn what_is_no_conversation_says_why() {
        check(
            r#"[{"role": "bot", "content": "x"}]"#,
            r#"messages[0]: the role "bot" is none of system, user, assistant, tool"#,
        );
        check(r#"{"messages": []}"#, "there are no messages");
        check(r#"{"messages": "hi"}"#, r#"messages are a list: [{"role": "user", "content": "..."}]"#);
        check(
            r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#,
            "messages[0]: a part of its content is not text",
        );
        check(r#"[{"role": "user", "content": 5}]"#, "messages[0]: its content is not text");
        check(r#"{"messages": [{"role": "user", "content": "x"}], "tools": [{}]}"#, "a tool without a name");
        check(
            r#"[{"role": "user", "content": "x",}]"#,
            "the messages are not JSON: trailing comma at line 1 column 34",
        );
        let said = describe(Conversation::read("[1]", true));
        assert_eq!(said, "messages[0]: it has no role");
    }

    #[test]
    fn a_system_message_comes_first_and_once() {
        let with =
            |text| describe(Conversation::read(text, false).and_then(|it| it.with_system(Some("Be brief."))));
        assert_eq!(with("hi"), "Role::System: Be brief.\nRole::User: hi");
        assert_eq!(
            with(r#"[{"role": "system", "content": "x"}]"#),
            "the messages begin with a system message: leave the parameter \"system\" out"
        );
    }

    #[test]
    fn tools_come_from_one_place() {
        let with =
            |text, tools| describe(Conversation::read(text, false).and_then(|it| it.with_tools(Some(tools))));
        assert_eq!(
            with("hi", r#"[{"name": "t", "description": "d"}]"#),
            "Role::User: hi\nt: d {\"type\":\"object\",\"properties\":{}}"
        );
        assert_eq!(
            with("hi", "{"),
            "the parameter \"tools\": not JSON: EOF while parsing an object at line 1 column 1"
        );
        assert_eq!(
            with("hi", r#"[{"name": "t", "parameters": 1}]"#),
            "the parameter \"tools\": the parameters of \"t\" are no JSON schema"
        );
        let both =
            with(r#"{"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "t"}]}"#, "[]");
        assert_eq!(both, "the input brings tools with it: leave the parameter \"tools\" out");
    }
}
