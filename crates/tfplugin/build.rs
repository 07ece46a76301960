//! Compiles the protocol files in pure Rust: no `protoc` on the building machine.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(["tfplugin6.proto", "plugin.proto", "health.proto"])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    // With the comments: they become the documentation of the generated types.
    tonic_prost_build::configure()
        .build_server(true)
        // Nothing of a client ends up in a provider's binary unless it is called; tests call it.
        .build_client(true)
        .build_transport(false)
        // An RPC that a provider does not offer answers `Unimplemented`.
        .generate_default_stubs(true)
        .bytes(".")
        // Stable order, so that equal answers are equal bytes.
        .btree_map(".")
        // Values may be secret: `src/proto.rs` prints their size.
        .skip_debug([".tfplugin6.DynamicValue", ".tfplugin6.RawState"])
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;

    // Without the comments: a fifth of the size.
    compiler.include_source_info(false);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    Ok(())
}
