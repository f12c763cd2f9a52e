//! Makes the simulated CUDA stack for the packages of a virtual environment, and prints the variables to
//! set, for a shell: `eval "$(cargo run --example stack -- SITE_PACKAGES INTO [GPU])"`.

use anyhow::Context;
use nccltap_rehearsal::{gpus, stack};
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let site_packages = arguments.next().context("which site-packages?")?;
    let into =
        std::path::absolute(PathBuf::from(arguments.next().context("into which directory?")?))?;
    let gpu = arguments.next().map_or("h100".into(), |gpu| gpu.to_string_lossy().into_owned());
    let gpu = gpus::find(&gpu).with_context(|| format!("`{gpu}` is no GPU that is known"))?;
    let stack = stack::build(site_packages.as_ref(), &into, gpu)?;
    for (name, value) in &stack.environment {
        println!("export {name}='{}'", value.display());
    }
    let preload: Vec<_> = stack.preload.iter().map(|path| path.display().to_string()).collect();
    println!("export LD_PRELOAD='{}'", preload.join(":"));
    Ok(())
}
