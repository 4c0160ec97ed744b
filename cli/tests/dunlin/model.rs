//! `dunlin model`, but for what is fetched.

use std::fs;

use dunlin_gguf::{
    GgufWriter, Planned, corpus,
    synth::{Mix, SynthShape, synth},
};
use expect_test::expect;

use crate::support::Home;

#[test]
fn a_model_comes_shows_itself_and_goes() {
    let home = Home::new();
    home.dunlin("model ls").check(&expect![[r#"
        --- stderr
        there are no models yet; `dunlin model add FILE|URL` adds one
    "#]]);
    home.dunlin("model add tiny.gguf --alias mine --quiet").check(&expect![[r#"
        added mine:q8_0: "tiny (random weights)", llama, Q8_0, 167 kB ([SHARED], 179 kB)
    "#]]);
    home.dunlin("model add tiny.gguf --alias mine --variant other --link --quiet").check(&expect![[r#"
        added mine:other: "tiny (random weights)", llama, Q8_0, 167 kB (left where it is, 179 kB)
    "#]]);
    home.dunlin("model ls").check(&expect![[r#"
        NAME          SIZE  PARAMETERS  TYPE  CONTEXT
        mine:q8_0   179 kB     155,968  Q8_0      512  default
        mine:other  179 kB     155,968  Q8_0      512
    "#]]);
    home.dunlin("model show mine").check(&expect![[r#"
        alias          mine:q8_0
        file           [HOME]/data/dunlin/models/mine/mine-q8_0.gguf (179 kB)
        sha256         ead309be44862ad1fd4b8cecdd18719c7324eadc4c19fddf26254ed00557b580
        name           tiny (random weights)
        architecture   llama
        quantization   Q8_0
        parameters     155,968
        weights        167 kB in 20 tensors (165 kB Q8_0, 1.28 kB F32)
        context        512 tokens
        vocabulary     512 tokens, gpt2 (smollm)
        layers         2 of 64 numbers
        attention      4 heads, 2 for keys and values, of 16
        memory         attention
        chat template  yes
        here           needs 32.3 MB with a context of 512 tokens; [SIZE] are free
    "#]]);
    let known = home.dunlin("model add tiny.gguf --alias mine --json").json();
    assert_eq!((&known["name"], &known["outcome"]), (&"mine:q8_0".into(), &"known".into()));
    home.dunlin("model rm mine").check(&expect![[r#"
        removed mine:q8_0, mine:other, 179 kB freed
        [HOME]/work/tiny.gguf was registered in place, and stays
    "#]]);
    home.dunlin("model ls --json").check(&expect![[r#"
        []
    "#]]);
    assert!(home.path("work/tiny.gguf").exists());
}

#[test]
fn names_that_are_taken_or_unknown() {
    let home = Home::new();
    home.dunlin("model add tiny.gguf --alias mine").stdout();
    home.dunlin("model add tiny.gguf --alias mine").check(&expect![[r#"
        mine:q8_0 is there already, the very same file
    "#]]);
    home.dunlin("model synth tiny --seed 2 -o other.gguf --quiet").stdout();
    home.dunlin("model add other.gguf --alias mine").check(&expect![[r#"
        exit code 1
        --- stderr
        error: there is a model mine:q8_0 already, and it is another file
          hint: --variant NAME adds it beside that one, --replace puts it in its place
    "#]]);
    home.dunlin("model add other.gguf --alias mine --replace --quiet").check(&expect![[r#"
        replaced mine:q8_0: "tiny (random weights)", llama, Q8_0, 167 kB ([SHARED], 179 kB)
    "#]]);
    home.dunlin("model show mien").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no model "mien"
          hint: did you mean "mine"? `dunlin model ls` lists them all
    "#]]);
    home.dunlin("model rm other").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no model "other"
          hint: `dunlin model ls` lists them, `dunlin model add FILE|URL` adds one; the name of a file ends in .gguf or has a slash
    "#]]);
    home.dunlin("model rm mine:q4_0").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no model "mine:q4_0"
          hint: did you mean "mine"? `dunlin model ls` lists them all
    "#]]);
    home.dunlin("model add other.gguf --alias Mine!").check(&expect![[r#"
        exit code 2
        --- stderr
        error: invalid value 'Mine!' for '--alias <NAME>': names have up to 64 of a-z, 0-9, '-', '_' and '.', and begin with a letter or a digit

        For more information, try '--help'.
    "#]]);
}

#[test]
fn what_came_with_dunlin_stays() {
    let home = Home::new();
    let folder = home.path("bundled/demo");
    fs::create_dir(&folder).unwrap();
    for name in ["large", "small"] {
        fs::copy(home.path("work/tiny.gguf"), folder.join(format!("demo-{name}.gguf"))).unwrap();
    }
    let alias = r#"
        alias = "demo"
        description = "Operations text of edge nodes"
        [[variant]]
        name = "large"
        file = "demo-large.gguf"
        [[variant]]
        name = "small"
        file = "demo-small.gguf"
    "#;
    fs::write(folder.join("alias.toml"), alias).unwrap();
    home.dunlin("model ls").check(&expect![[r#"
        NAME          SIZE  PARAMETERS  TYPE  CONTEXT
        demo:large  179 kB     155,968  Q8_0      512  default; came with Dunlin
        demo:small  179 kB     155,968  Q8_0      512  came with Dunlin
    "#]]);
    home.dunlin("model rm demo").check(&expect![[r#"
        exit code 2
        --- stderr
        error: demo came with Dunlin, and is not yours to remove
          hint: it is in [HOME]/bundled/demo
    "#]]);
    home.dunlin("model show demo:tiny").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no model "demo:tiny"
          hint: did you mean "demo"? `dunlin model ls` lists them all
    "#]]);
    fs::remove_file(folder.join("demo-small.gguf")).unwrap();
    fs::write(folder.join("demo-large.gguf"), b"GGUF").unwrap();
    home.dunlin("model ls").check(&expect![[r#"
        NAME        SIZE  PARAMETERS  TYPE  CONTEXT
        demo:large                                   it has 4 bytes, fewer than the 24 of the shortest GGUF header: download it again
        demo:small                                   there is no such file
    "#]]);
}

#[test]
fn a_split_model_is_one() {
    let home = Home::new();
    let parts = split(&home);
    home.dunlin(&format!("model check {}", parts[1])).check(&expect![[r#"
        sound: "attack (random weights)", llama, F16, 54.9 kB, checked in [TIME]
        fits: needs 29.3 MB with a context of 512 tokens; [SIZE] are free
    "#]]);
    home.dunlin(&format!("model add {} --quiet", parts[0])).check(&expect![[r#"
        added whole:f16: "attack (random weights)", llama, F16, 54.9 kB ([SHARED], 61.5 kB)
    "#]]);
    home.dunlin("model rm whole").check(&expect![[r#"
        removed whole:f16, 61.5 kB freed
    "#]]);
}

/// The sound model of the attack files in two parts.
fn split(home: &Home) -> [&'static str; 2] {
    let names = ["whole-00001-of-00002.gguf", "whole-00002-of-00002.gguf"];
    let whole = corpus::sound();
    let (first, second) = whole.tensors.split_at(whole.tensors.len() / 2);
    for (index, tensors) in [first, second].into_iter().enumerate() {
        let mut part = if index == 0 { whole.clone() } else { GgufWriter::new() };
        part.u16("split.no", index as u16).u16("split.count", 2);
        part.i32("split.tensors.count", whole.tensors.len() as i32);
        part.tensors.clear();
        let mut offset = 0;
        for tensor in tensors {
            part.tensors.push(Planned { offset, ..tensor.clone() });
            offset = (offset + tensor.bytes).next_multiple_of(part.alignment);
        }
        home.write(names[index], part.bytes());
    }
    names
}

#[test]
fn a_file_is_checked_in_a_sentence() {
    let home = Home::new();
    home.dunlin("model check tiny.gguf").check(&expect![[r#"
        sound: "tiny (random weights)", llama, Q8_0, 167 kB, checked in [TIME]
        fits: needs 32.3 MB with a context of 512 tokens; [SIZE] are free
    "#]]);
    home.dunlin("model check nothing.gguf").check(&expect![[r#"
        exit code 3
        --- stderr
        error: nothing.gguf: there is no such file
    "#]]);
    home.dunlin("model check script.wasm").check(&expect![[r#"
        exit code 3
        --- stderr
        error: script.wasm: it is no GGUF file, it starts with bytes [00, 61, 73, 6d] instead of "GGUF"
    "#]]);
    let whole = fs::read(home.path("work/tiny.gguf")).unwrap();
    home.write("cut.gguf", &whole[..whole.len() / 2]);
    home.dunlin("model check cut.gguf").check(&expect![[r#"
        exit code 3
        --- stderr
        error: cut.gguf: tensor "blk.0.ffn_up.weight" ends at byte 95,552 but the file has 89,504: it is truncated, download it again
    "#]]);
    home.dunlin("model add cut.gguf").check(&expect![[r#"
        exit code 3
        --- stderr
        error: cut.gguf: tensor "blk.0.ffn_up.weight" ends at byte 95,552 but the file has 89,504: it is truncated, download it again
    "#]]);
    let json = home.dunlin("model check cut.gguf --json").json();
    assert_eq!(json["error"]["kind"], "model");
    assert!(json["checked_ms"].as_f64().unwrap() < 50.0, "{json}");
}

#[test]
fn a_model_that_does_not_fit_says_what_is_missing() {
    let home = Home::new();
    let shape = SynthShape { context_length: 1 << 27, ..SynthShape::TINY };
    synth(&shape, Mix::Q8_0, 1, &home.path("work/long.gguf"), |_| ()).unwrap();
    home.dunlin("model check long.gguf --quiet").stdout();
    let check = home.dunlin("model check long.gguf --context 134217728").output();
    assert_eq!(check.status.code(), Some(4));
    let check = String::from_utf8(check.stderr).unwrap();
    assert!(check.starts_with("error: long.gguf is sound, but does not fit: "), "{check}");
    assert!(
        check.ends_with("\n  hint: --context N takes less; `dunlin doctor` shows what is free\n"),
        "{check}"
    );
    // The engine says the same: what is in `command/model/memory.rs` is what it really takes.
    let run = home.dunlin("run ./script.wasm --model long.gguf --context 134217728 --text x").output();
    assert_eq!(run.status.code(), Some(4));
    let needs = |text: &str| {
        let from = text.find("it needs").unwrap_or_else(|| panic!("{text}"));
        text[from..].split(';').next().unwrap().to_owned()
    };
    assert_eq!(needs(&check), needs(&String::from_utf8(run.stderr).unwrap()));
}
