//! Answers that are values.

use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde::de::DeserializeOwned;

use crate::{Ctx, Error, Spec};

impl Ctx {
    /// An answer that is valid under the schema of this type, read as that type.
    ///
    /// The schema is of the type alone: the model knows no more of it than what the messages say, so say what the
    /// fields mean. They come in the order of the type; unknown ones do not come. (The attributes name the copies of serde
    /// and schemars that come with this crate; a pipeline that depends on its own does without.)
    ///
    /// ```
    /// use dunlin_guest::{Ctx, Error, schemars, serde};
    ///
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// #[serde(crate = "dunlin_guest::serde")]
    /// #[schemars(crate = "dunlin_guest::schemars")]
    /// struct Invoice {
    ///     customer: String,
    ///     cents: u32,
    /// }
    ///
    /// # let _model = dunlin_guest::fake::Model::answering(|_| r#"{"customer":"Ana","cents":1200}"#.into());
    /// # fn read() -> Result<Invoice, Error> {
    /// let invoice: Invoice = Ctx::model("demo")?.user("Customer and cents: 12 EUR from Ana").json()?;
    /// # Ok(invoice)
    /// # }
    /// # assert_eq!((read().unwrap().customer.as_str(), read().unwrap().cents), ("Ana", 1200));
    /// ```
    ///
    /// # Errors
    /// `constraint` if the schema has what cannot be enforced; if the answer is cut before its end; of the generation;
    /// if the type does not take what is valid under its schema.
    pub fn json<T: DeserializeOwned + JsonSchema>(&mut self) -> Result<T, Error> {
        let text = self.constrained(&Spec::JsonSchema(schema::<T>()))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Backend(format!("the answer is not what was asked for: {error}")))
    }
}

/// The JSON schema that [`Ctx::json`] asks for.
pub fn schema<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(enforceable).transform(&mut schema);
    schema.to_value().to_string()
}

/// Without what says nothing of the text, or says it again in words that an engine need not know.
fn enforceable(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.shift_remove("title");
    // `uint32` and the like; the range of the number says the same.
    if let Some(format) = object.get("format").and_then(|format| format.as_str().map(str::to_owned))
        && let Some((least, most)) = range(&format)
    {
        object.shift_remove("format");
        for (bound, value) in [("minimum", least), ("maximum", most)] {
            if let Some(value) = value {
                object.entry(bound).or_insert(value.into());
            }
        }
    }
    if object.contains_key("properties") {
        object.entry("additionalProperties").or_insert(false.into());
    }
}

type Bound = Option<i64>;

/// What a number of this format can be; `None` of what is no format of numbers.
fn range(format: &str) -> Option<(Bound, Bound)> {
    Some(match format {
        "int8" => (Some(i8::MIN.into()), Some(i8::MAX.into())),
        "int16" => (Some(i16::MIN.into()), Some(i16::MAX.into())),
        "int32" => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        "uint8" => (Some(0), Some(u8::MAX.into())),
        "uint16" => (Some(0), Some(u16::MAX.into())),
        "uint32" => (Some(0), Some(u32::MAX.into())),
        "int" | "int64" => (Some(i64::MIN), Some(i64::MAX)),
        // Their most is more than JSON numbers are exact to.
        "uint" | "uint64" => (Some(0), Some(i64::MAX)),
        "float" | "double" => (None, None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::fake::Model;

    /// What a log line says.
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Severity {
        Ok,
        Critical,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    struct Place {
        host: String,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    struct Event {
        /// Comes first.
        unit: String,
        severity: Severity,
        place: Place,
        port: Option<u16>,
        load: f32,
        tags: Vec<String>,
    }

    #[test]
    fn a_schema_is_of_the_type_and_of_nothing_else() {
        assert_eq!(
            schema::<Event>(),
            concat!(
                r#"{"type":"object","properties":{"unit":{"type":"string","description":"Comes first."},"#,
                r#""severity":{"type":"string","enum":["ok","critical"],"description":"What a log line says."},"#,
                r#""place":{"type":"object","properties":{"host":{"type":"string"}},"required":["host"],"additionalProperties":false},"#,
                r#""port":{"type":["integer","null"],"minimum":0,"maximum":65535},"load":{"type":"number"},"#,
                r#""tags":{"type":"array","items":{"type":"string"}}},"#,
                r#""required":["unit","severity","place","load","tags"],"additionalProperties":false}"#
            )
        );
    }

    #[test]
    fn an_answer_is_read_as_the_type() {
        let model = Model::answering(|_| r#"{"host":"a"}"#.into());
        let ask = || Ctx::model("demo")?.user("Where?").json::<Place>();
        assert_eq!(ask().unwrap(), Place { host: "a".into() });
        let Some(Spec::JsonSchema(asked)) = model.specs().pop() else { panic!("it is constrained") };
        assert_eq!(asked, schema::<Place>());
        drop(model);
        let _model = Model::answering(|_| "{}".into());
        assert!(crate::explain(&ask().unwrap_err()).contains("missing field `host`"));
    }
}
