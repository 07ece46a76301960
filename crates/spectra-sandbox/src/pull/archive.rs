//! An image as the tar that engines load: `manifest.json`, the config, the layers as the registry has them.

use std::{collections::BTreeSet, io};

use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use tar::{EntryType, Header};
use tokio::sync::mpsc::Sender;

use super::{Descriptor, Pull, describe};
use crate::registry::Hasher;

/// Tar files are made of such blocks.
const BLOCK: u64 = 512;

pub(super) async fn write(
    pull: &mut Pull,
    config: &Descriptor,
    layers: &[Descriptor],
    tag: &str,
    out: &Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let layer_name = |layer: &Descriptor| format!("{}.tar", layer.digest.hex());
    let config_name = format!("{}.json", config.digest.hex());
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [tag],
        "Layers": layers.iter().map(layer_name).collect::<Vec<_>>(),
    }])
    .to_string();
    let size = manifest.len() as u64;
    send(out, header("manifest.json", size)?).await?;
    send(out, manifest.into()).await?;
    send(out, padding(size)).await?;
    blob(pull, config, &config_name, out).await?;
    // An image may have the same layer twice; an archive need not.
    let mut written = BTreeSet::new();
    for layer in layers {
        if written.insert(&layer.digest) {
            blob(pull, layer, &layer_name(layer), out).await?;
        }
    }
    send(out, Bytes::from_static(&[0; 2 * 512])).await
}

async fn blob(
    pull: &mut Pull,
    descriptor: &Descriptor,
    name: &str,
    out: &Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let response = pull.get(&format!("blobs/{}", descriptor.digest), None).await.map_err(io::Error::other)?;
    send(out, header(name, descriptor.size)?).await?;
    let mut hasher = Hasher::new(descriptor.digest.algorithm());
    let mut stream = response.bytes_stream();
    let mut length = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| io::Error::other(describe(&error)))?;
        hasher.update(&piece);
        length += piece.len() as u64;
        if length > descriptor.size {
            break;
        }
        send(out, piece).await?;
    }
    if length != descriptor.size || hasher.finish() != descriptor.digest {
        return Err(io::Error::other(format!("blob `{}` came damaged", descriptor.digest)));
    }
    send(out, padding(length)).await
}

fn header(name: &str, size: u64) -> io::Result<Bytes> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}

/// Zeros up to the next block.
fn padding(length: u64) -> Bytes {
    static ZEROS: [u8; 512] = [0; 512];
    let missing = (BLOCK - length % BLOCK) % BLOCK;
    Bytes::from_static(&ZEROS).slice(..usize::try_from(missing).unwrap_or(0))
}

async fn send(out: &Sender<io::Result<Bytes>>, piece: Bytes) -> io::Result<()> {
    out.send(Ok(piece)).await.map_err(|_| io::Error::other("the engine stopped reading"))
}
