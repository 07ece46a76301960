//! The threads that compress, one a core, shared by all layers of the process.

use std::{
    io,
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use super::{Codec, Compression};

/// More threads would wait for the one that reads and hashes a layer.
const MOST_WORKERS: usize = 12;

/// One block to be compressed.
struct Task {
    how: Compression,
    input: Vec<u8>,
    reply: SyncSender<io::Result<Done>>,
}

/// A compressed block, and the buffer that it was read into, to be filled again.
pub(super) struct Done {
    pub(super) output: Vec<u8>,
    pub(super) input: Vec<u8>,
}

/// A compressed block to come.
pub(super) type Pending = Receiver<io::Result<Done>>;

pub(super) struct Pool {
    tasks: Mutex<Sender<Task>>,
    /// How many threads there are.
    pub(super) workers: usize,
}

impl Pool {
    /// The pool of this process; its threads start with the first layer and wait without cost.
    pub(super) fn global() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::start(thread::available_parallelism().map_or(1, usize::from)))
    }

    fn start(cores: usize) -> Self {
        let (tasks, queue) = channel::<Task>();
        let queue: &'static Mutex<Receiver<Task>> = Box::leak(Box::new(Mutex::new(queue)));
        let mut workers = 0;
        for number in 0..cores.min(MOST_WORKERS) {
            let work = move || {
                let mut machine = Machine::default();
                loop {
                    // A worker holds the lock while it waits: whoever gets it next gets the next task.
                    let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(task) = task else { return };
                    let done = machine.compress(task.how, &task.input);
                    // Whoever gave up on the layer wants no answer.
                    let _ = task.reply.send(done.map(|output| Done { output, input: task.input }));
                }
            };
            if thread::Builder::new().name(format!("compress-{number}")).spawn(work).is_ok() {
                workers += 1;
            }
        }
        Self { tasks: Mutex::new(tasks), workers }
    }

    /// Hands over a block. Without threads (a system that gives none) it is compressed here and now.
    pub(super) fn submit(&self, how: Compression, input: Vec<u8>) -> Pending {
        let (reply, pending) = sync_channel(1);
        let task = Task { how, input, reply };
        if self.workers == 0 {
            let done = Machine::default().compress(task.how, &task.input);
            // The channel has room for the one answer.
            let _ = task.reply.send(done.map(|output| Done { output, input: task.input }));
        } else {
            // The threads never end, so that there is always a receiver.
            let _ = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).send(task);
        }
        pending
    }
}

/// What a thread keeps between blocks: the compressor, which is costly to make, and room for its output.
#[derive(Default)]
struct Machine {
    engine: Option<(Compression, Engine)>,
    room: Vec<u8>,
}

enum Engine {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Machine {
    /// One complete member or frame.
    fn compress(&mut self, how: Compression, input: &[u8]) -> io::Result<Vec<u8>> {
        let engine = match &mut self.engine {
            Some((for_what, engine)) if *for_what == how => engine,
            engine => &mut engine.insert((how, Engine::new(how)?)).1,
        };
        let length = match engine {
            Engine::Gzip(gzip) => {
                self.room.resize(gzip.gzip_compress_bound(input.len()), 0);
                gzip.gzip_compress(input, &mut self.room).map_err(io::Error::other)?
            }
            Engine::Zstd(zstd) => {
                self.room.resize(zstd::zstd_safe::compress_bound(input.len()), 0);
                zstd.compress_to_buffer(input, self.room.as_mut_slice())?
            }
        };
        // As many bytes as there are, not as there could have been: blocks wait for their turn in memory.
        Ok(self.room[..length].to_vec())
    }
}

impl Engine {
    fn new(how: Compression) -> io::Result<Self> {
        Ok(match how.codec {
            Codec::Gzip => {
                let level = libdeflater::CompressionLvl::new(how.level)
                    .map_err(|error| io::Error::other(format!("level {}: {error:?}", how.level)))?;
                Self::Gzip(libdeflater::Compressor::new(level))
            }
            Codec::Zstd => {
                let mut zstd = zstd::bulk::Compressor::new(how.level)?;
                zstd.include_checksum(true)?;
                Self::Zstd(zstd)
            }
        })
    }
}
