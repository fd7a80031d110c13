//! `aforo-bindgen bundler|web WASM FOLDER NAME` writes a WebAssembly file and its JavaScript as NAME into a folder. For a
//! bundler, it keeps the names of functions.

use std::{env, error::Error};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [target, wasm, folder, name] = args.as_slice() else {
        return Err("usage: aforo-bindgen bundler|web WASM FOLDER NAME".into());
    };
    let mut bindgen = Bindgen::new();
    match target.as_str() {
        "bundler" => bindgen.bundler(true)?.keep_debug(true),
        "web" => bindgen.web(true)?,
        _ => return Err("the target is bundler or web".into()),
    };
    bindgen.typescript(false).input_path(wasm).out_name(name).generate(folder)?;
    Ok(())
}
