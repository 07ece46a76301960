//! State stores, chunk by chunk.

use tempfile::TempDir;
use tfplugin::proto::tfplugin6::write_state_bytes::RequestChunk;
use tfplugin::proto::tfplugin6::{
    RequestChunkMeta, StateByteRange, StateStoreClientCapabilities, configure_state_store, delete_state,
    get_metadata, get_provider_schema, get_states, lock_state, read_state_bytes, stop_provider, unlock_state,
    validate_state_store_config,
};

use crate::files::Folder;
use crate::provider::{Config, Shared, Works};
use crate::support::{Client, Wire, errors, value, within};

const TYPE: &str = "wire_files";
const STATE: &str = "default";

/// A configured store over one connection.
struct Kept {
    client: Client,
    chunk_size: usize,
}

impl Kept {
    async fn open(wire: &Wire, folder: &TempDir, chunk_size: i64) -> Self {
        let mut client = wire.client(&Config::default()).await;
        let response = configure(&mut client, folder, chunk_size).await;
        assert_eq!(response.diagnostics, []);
        let chunk_size = usize::try_from(response.capabilities.unwrap().chunk_size).unwrap();
        Self { client, chunk_size }
    }

    /// As core cuts it.
    fn cut(&self, state: &[u8], id: &str) -> Vec<RequestChunk> {
        let length = |bytes: usize| i64::try_from(bytes).unwrap();
        let pieces = state.chunks(self.chunk_size).enumerate().map(|(index, piece)| {
            let start = index * self.chunk_size;
            RequestChunk {
                meta: (index == 0)
                    .then(|| RequestChunkMeta { type_name: TYPE.to_owned(), state_id: id.to_owned() }),
                bytes: piece.to_vec().into(),
                total_length: length(state.len()),
                range: Some(StateByteRange { start: length(start), end: length(start + piece.len()) - 1 }),
            }
        });
        pieces.collect()
    }

    async fn send(&mut self, chunks: Vec<RequestChunk>) -> String {
        let response = self.client.write_state_bytes(tokio_stream::iter(chunks)).await.unwrap();
        errors(&response.into_inner().diagnostics)
    }

    async fn write(&mut self, state: &[u8]) {
        let chunks = self.cut(state, STATE);
        assert_eq!(self.send(chunks).await, "");
    }

    /// Held against every rule of core.
    async fn read(&mut self, id: &str) -> Result<Vec<u8>, String> {
        let request = read_state_bytes::Request { type_name: TYPE.to_owned(), state_id: id.to_owned() };
        let mut stream = self.client.read_state_bytes(request).await.unwrap().into_inner();
        let (mut state, mut total, mut count) = (Vec::new(), 0, 0);
        while let Some(chunk) = stream.message().await.unwrap() {
            // A chunk without a range crashes core.
            let range = chunk.range.unwrap();
            if !chunk.diagnostics.is_empty() {
                return Err(errors(&chunk.diagnostics));
            }
            total = usize::try_from(chunk.total_length).unwrap();
            assert_eq!(usize::try_from(range.start).unwrap(), state.len());
            state.extend_from_slice(&chunk.bytes);
            assert_eq!(usize::try_from(range.end).unwrap(), state.len().saturating_sub(1));
            if state.len() < total {
                assert_eq!(chunk.bytes.len(), self.chunk_size, "all but the last have the agreed size");
            } else {
                assert!(chunk.bytes.len() <= self.chunk_size);
            }
            count += 1;
        }
        assert_eq!(state.len(), total);
        assert!(count > 0, "also no state is a chunk");
        Ok(state)
    }

    async fn lock(&mut self, operation: &str) -> Result<String, String> {
        let request = lock_state::Request {
            type_name: TYPE.to_owned(),
            state_id: STATE.to_owned(),
            operation: operation.to_owned(),
        };
        let response = self.client.lock_state(request).await.unwrap().into_inner();
        assert_eq!(response.lock_id.is_empty(), !response.diagnostics.is_empty());
        if response.diagnostics.is_empty() {
            Ok(response.lock_id)
        } else {
            Err(errors(&response.diagnostics))
        }
    }

    async fn unlock(&mut self, lock_id: &str) -> String {
        let request = unlock_state::Request {
            type_name: TYPE.to_owned(),
            state_id: STATE.to_owned(),
            lock_id: lock_id.to_owned(),
        };
        errors(&self.client.unlock_state(request).await.unwrap().into_inner().diagnostics)
    }

    async fn states(&mut self) -> Vec<String> {
        let request = get_states::Request { type_name: TYPE.to_owned() };
        let response = self.client.get_states(request).await.unwrap().into_inner();
        assert_eq!(response.diagnostics, []);
        response.state_ids
    }

    async fn delete(&mut self, id: &str) -> String {
        let request = delete_state::Request { type_name: TYPE.to_owned(), state_id: id.to_owned() };
        errors(&self.client.delete_state(request).await.unwrap().into_inner().diagnostics)
    }
}

async fn configure(
    client: &mut Client,
    folder: &TempDir,
    chunk_size: i64,
) -> configure_state_store::Response {
    let path = folder.path().to_str().unwrap().to_owned();
    let request = configure_state_store::Request {
        type_name: TYPE.to_owned(),
        config: Some(value(&Folder { path, does: None })),
        capabilities: Some(StateStoreClientCapabilities { chunk_size }),
    };
    client.configure_state_store(request).await.unwrap().into_inner()
}

async fn start() -> (Wire, TempDir) {
    (Wire::start(Works(Shared::new().0)).await, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_store_is_announced_by_name_and_schema() {
    let (wire, _folder) = start().await;
    let mut client = wire.connect().await;
    let metadata = client.get_metadata(get_metadata::Request {}).await.unwrap().into_inner();
    let names: Vec<_> = metadata.state_stores.into_iter().map(|store| store.type_name).collect();
    assert_eq!(names, [TYPE]);
    let schema = client.get_provider_schema(get_provider_schema::Request {}).await.unwrap().into_inner();
    assert_eq!(schema.diagnostics, []);
    let block = schema.state_store_schemas[TYPE].block.as_ref().unwrap();
    assert!(block.attributes.iter().any(|attribute| attribute.name == "path" && attribute.required));
    for (path, expected) in [("", "No folder: A store needs a folder."), ("x", "")] {
        let config = Folder { path: path.to_owned(), does: None };
        let request =
            validate_state_store_config::Request { type_name: TYPE.to_owned(), config: Some(value(&config)) };
        let response = client.validate_state_store_config(request).await.unwrap().into_inner();
        assert_eq!(errors(&response.diagnostics), expected);
    }
    wire.ended().await;
}

#[tokio::test]
async fn a_state_goes_round_in_chunks_of_any_size() {
    let (wire, folder) = start().await;
    let state: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    for size in [1, 7, 4096, 40_000, 39_999, 8 << 20] {
        let state = &state[..if size == 1 { 50 } else { state.len() }];
        let mut kept = Kept::open(&wire, &folder, size).await;
        kept.write(state).await;
        assert_eq!(kept.read(STATE).await.unwrap(), state, "in chunks of {size}");
    }
    wire.ended().await;
}

#[tokio::test]
async fn no_state_is_one_empty_chunk() {
    let (wire, folder) = start().await;
    let mut kept = Kept::open(&wire, &folder, 8 << 20).await;
    assert_eq!(kept.read(STATE).await.unwrap(), b"");
    wire.ended().await;
}

#[tokio::test]
async fn the_chunk_size_is_agreed_on_also_when_the_answer_is_an_error() {
    let (wire, folder) = start().await;
    let mut client = wire.client(&Config::default()).await;
    for (proposed, agreed) in [(0, 8 << 20), (-5, 8 << 20), (1, 1), (1 << 40, 134_217_728)] {
        let response = configure(&mut client, &folder, proposed).await;
        assert_eq!(response.capabilities.unwrap().chunk_size, agreed);
    }
    let request =
        configure_state_store::Request { type_name: "wire_nothing".to_owned(), ..Default::default() };
    let response = client.configure_state_store(request).await.unwrap().into_inner();
    assert!(errors(&response.diagnostics).starts_with("No state store `wire_nothing`"));
    assert_eq!(response.capabilities.unwrap().chunk_size, 8 << 20, "an answer without crashes core");
    // A handler that panics is no exception.
    let config = Folder { path: "unused".to_owned(), does: Some("panic:configure store".to_owned()) };
    let request = configure_state_store::Request {
        type_name: TYPE.to_owned(),
        config: Some(value(&config)),
        capabilities: None,
    };
    let response = client.configure_state_store(request).await.unwrap().into_inner();
    assert!(errors(&response.diagnostics).contains("fell over"));
    assert!(response.capabilities.is_some());
    wire.ended().await;
}

#[tokio::test]
async fn a_write_that_is_not_whole_leaves_the_stored_state_as_it_was() {
    let (wire, folder) = start().await;
    let mut kept = Kept::open(&wire, &folder, 4).await;
    kept.write(b"what was before").await;
    let whole = kept.cut(b"what comes after", STATE);
    assert_eq!(whole.len(), 4);
    let changed = |at: usize, change: &dyn Fn(&mut RequestChunk)| {
        let mut chunks = whole.clone();
        change(&mut chunks[at]);
        chunks
    };
    let cases = [
        (Vec::new(), "no chunk has arrived"),
        (whole[..3].to_vec(), "12 bytes have arrived of 16"),
        (whole[1..].to_vec(), "the first chunk does not say which state it belongs to"),
        (changed(1, &|chunk| chunk.meta = whole[0].meta.clone()), "a second state begins in the same stream"),
        (changed(2, &|chunk| chunk.total_length = 12), "one chunk says 16 bytes, and another 12"),
        (changed(0, &|chunk| chunk.total_length = -1), "its length is -1"),
        (changed(1, &|chunk| chunk.range = None), "a chunk does not say which bytes it holds"),
        (
            [&whole[..1], &whole[2..]].concat(),
            "a chunk of 4 bytes says it is bytes 8 to 11, where byte 4 comes next",
        ),
        (
            changed(3, &|chunk| chunk.range = Some(StateByteRange { start: 12, end: i64::MAX })),
            "a chunk of 4 bytes says it is bytes 12 to 9223372036854775807, where byte 12 comes next",
        ),
        (
            changed(0, &|chunk| {
                chunk.total_length = 2;
            }),
            "4 bytes have arrived of 2",
        ),
    ];
    for (chunks, reason) in cases {
        let said = kept.send(chunks).await;
        assert!(said.contains(reason), "{said}\n{reason}");
        assert_eq!(kept.read(STATE).await.unwrap(), b"what was before", "{reason}");
    }
    assert_eq!(kept.send(whole).await, "");
    assert_eq!(kept.read(STATE).await.unwrap(), b"what comes after");
    wire.ended().await;
}

#[tokio::test]
async fn nothing_is_stored_before_the_stream_has_ended() {
    let (wire, folder) = start().await;
    let mut kept = Kept::open(&wire, &folder, 4).await;
    kept.write(b"before").await;
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let mut client = kept.client.clone();
    let chunks = kept.cut(b"after that", STATE);
    let writing = tokio::spawn(async move {
        client.write_state_bytes(tokio_stream::wrappers::ReceiverStream::new(receiver)).await
    });
    for chunk in chunks {
        sender.send(chunk).await.unwrap();
    }
    // Every byte may have arrived.
    assert_eq!(kept.read(STATE).await.unwrap(), b"before");
    drop(sender);
    assert_eq!(writing.await.unwrap().unwrap().into_inner().diagnostics, []);
    assert_eq!(kept.read(STATE).await.unwrap(), b"after that");
    wire.ended().await;
}

/// A client that stalled in the middle of a state held the call for ever, and no stop reached it.
#[tokio::test]
async fn a_stop_ends_a_write_whose_client_has_stalled() {
    let (wire, folder) = start().await;
    let mut kept = Kept::open(&wire, &folder, 4).await;
    kept.write(b"before").await;
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let mut client = kept.client.clone();
    sender.send(kept.cut(b"after that", STATE).remove(0)).await.unwrap();
    let writing = tokio::spawn(async move {
        client.write_state_bytes(tokio_stream::wrappers::ReceiverStream::new(receiver)).await
    });
    // One stop is enough; which one finds the call in flight is not known.
    let stop = kept.client.clone();
    within(async {
        while !writing.is_finished() {
            stop.clone().stop_provider(stop_provider::Request {}).await.unwrap();
        }
    })
    .await;
    let said = errors(&writing.await.unwrap().unwrap().into_inner().diagnostics);
    assert!(said.contains("Stopped while a state was being received"), "{said}");
    assert_eq!(kept.read(STATE).await.unwrap(), b"before");
    drop(sender);
    wire.ended().await;
}

#[tokio::test]
async fn a_second_lock_names_the_holder_of_the_first() {
    let (wire, folder) = start().await;
    let mut first = Kept::open(&wire, &folder, 4).await;
    let mut second = Kept::open(&wire, &folder, 4).await;
    let lock = first.lock("apply").await.unwrap();
    let said = second.lock("plan").await.unwrap_err();
    let machine = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for part in ["State `default` is locked", "for apply since", &lock, &machine, "terraform force-unlock"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    let said = second.unlock("another").await;
    assert!(said.contains("Lock `another` is not held: another one is") && said.contains(&lock), "{said}");
    assert_eq!(first.unlock(&lock).await, "");
    assert!(first.unlock(&lock).await.contains("the state is not locked"));
    let again = second.lock("plan").await.unwrap();
    assert_ne!(again, lock);
    // Whoever knows the id may unlock: that is what `force-unlock` does.
    assert_eq!(first.unlock(&again).await, "");
    wire.ended().await;
}

#[tokio::test]
async fn of_many_that_lock_at_once_one_gets_it() {
    let (wire, folder) = start().await;
    let mut contenders = Vec::new();
    for _ in 0..8 {
        let mut kept = Kept::open(&wire, &folder, 4).await;
        contenders.push(tokio::spawn(async move { kept.lock("apply").await }));
    }
    let mut taken = 0;
    for contender in contenders {
        taken += usize::from(contender.await.unwrap().is_ok());
    }
    assert_eq!(taken, 1);
    wire.ended().await;
}

#[tokio::test]
async fn states_are_listed_and_deleted_by_id() {
    let (wire, folder) = start().await;
    let mut kept = Kept::open(&wire, &folder, 4).await;
    assert_eq!(kept.states().await, Vec::<String>::new());
    for id in ["../up", "b", "a"] {
        let chunks = kept.cut(id.as_bytes(), id);
        assert_eq!(kept.send(chunks).await, "");
    }
    assert_eq!(kept.states().await, ["../up", "a", "b"]);
    assert_eq!(kept.delete("a").await, "");
    assert!(kept.delete("a").await.starts_with("No state `a`"));
    assert_eq!(kept.states().await, ["../up", "b"]);
    assert_eq!(kept.read("../up").await.unwrap(), b"../up");
    for said in [kept.delete("").await, kept.read("").await.unwrap_err()] {
        assert!(said.starts_with("No state is named"), "{said}");
    }
    wire.ended().await;
}

#[tokio::test]
async fn a_store_belongs_to_the_connection_that_configured_it() {
    let (wire, folder) = start().await;
    let mut kept = Kept::open(&wire, &folder, 4).await;
    kept.write(b"state").await;
    let mut other = Kept { client: wire.client(&Config::default()).await, chunk_size: 4 };
    let said = other.read(STATE).await.unwrap_err();
    assert!(said.starts_with("State store `wire_files` is not configured"), "{said}");
    // And the provider comes before the store.
    let mut client = wire.connect().await;
    let response = configure(&mut client, &folder, 4).await;
    assert!(errors(&response.diagnostics).starts_with("Provider `wire` is not configured"));
    wire.ended().await;
}
