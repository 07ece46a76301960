//! Building without a builder: base image and files to a layout.

use std::path::{Path, PathBuf};

use spectra_oci::{BuiltImage, Descriptor, ImageBuilder, Layout, Packing, Platform};

use super::recipe::Recipe;
use crate::{commands::image::Login, failure::Failure, printer::Printer, progress::push_progress};

/// How many layers of a base image are fetched at the same time.
const JOBS: usize = 8;

/// What was built.
pub(super) struct Built {
    /// The manifest, or the index of several.
    pub(super) root: Descriptor,
    pub(super) images: Vec<BuiltImage>,
}

/// Where a recipe is built.
pub(super) struct Place {
    pub(super) context: PathBuf,
    pub(super) layout: Layout,
    pub(super) name: Option<String>,
    pub(super) cache: Option<PathBuf>,
    pub(super) packing: Packing,
}

/// Builds an image, or an index if the recipe has several platforms.
pub(super) async fn build(
    recipe: Recipe,
    place: Place,
    login: Login,
    printer: Printer,
) -> Result<Built, Failure> {
    let mut platforms: Vec<Platform> = recipe.platforms.iter().map(|platform| platform.0.clone()).collect();
    if platforms.is_empty() {
        platforms.push(Platform::default());
    }
    let mut builders: Vec<ImageBuilder> = Vec::new();
    for platform in &platforms {
        builders.push(recipe.builder(platform, &place.context)?.packing(place.packing.clone()));
    }
    if recipe.base.is_none() {
        login.unused()?;
    }
    if let Some(image) = &recipe.base {
        let cache = Layout::create(cache_directory(place.cache.as_deref())?)?;
        let client = login.client(image, printer)?;
        for (builder, platform) in builders.iter_mut().zip(&platforms) {
            let base = client.base(image, platform, &cache, JOBS, push_progress(printer)).await?;
            if base.has_instructions()? {
                printer.note(&format!(
                    "`{image}` has instructions for builds on it (ONBUILD) for `{platform}`, which are not carried out: that takes a Dockerfile"
                ));
            }
            *builder = std::mem::take(builder).base(base).leave_out(cache.root());
        }
    }
    let built = tokio::task::spawn_blocking(move || {
        let name = place.name.as_deref();
        match builders.as_slice() {
            [builder] => {
                let built = builder.build(&place.layout, name)?;
                Ok(Built { root: built.manifest.clone(), images: vec![built] })
            }
            builders => {
                let built = ImageBuilder::build_index(builders, &place.layout, name)?;
                Ok::<_, spectra_oci::Error>(Built { root: built.index, images: built.images })
            }
        }
    });
    Ok(built.await??)
}

/// Where base images are kept.
fn cache_directory(wanted: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    wanted
        .map(Path::to_owned)
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("spectra/base-images")))
        .or_else(|| Some(variable("HOME")?.join(".cache/spectra/base-images")))
        .ok_or_else(|| {
            Failure::usage("there is no HOME to keep base images in; name a directory with `--base-cache`")
        })
}
