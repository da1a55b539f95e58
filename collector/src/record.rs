//! Writes a recording: a folder of `observations.arrows` (an Arrow IPC stream, one record batch for
//! each batch) and `interfaces.json`. What happened in the cluster meanwhile is `cluster.jsonl`
//! beside them, which this crate does not know.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use schemas::{Batch, Lane, Observation};

use crate::columns::{VERSION, fields, write};
use crate::error::RecordingError;
use crate::source::Tables;

/// The observations' file in a recording's folder.
pub const OBSERVATIONS: &str = "observations.arrows";
/// The interfaces' file in a recording's folder.
pub const INTERFACES: &str = "interfaces.json";

/// Metadata of the stream.
pub(crate) const KEY_VERSION: &str = "whyflow.recording";
pub(crate) const KEY_LANE: &str = "whyflow.lane";

/// A recording that is being written. Each batch is in its file when `record` returns, so a
/// recording that is never finished ends after its last batch.
pub struct Recorder {
    folder: PathBuf,
    writer: StreamWriter<BufWriter<File>>,
    schema: Arc<Schema>,
    tables: Tables,
    interfaces: usize,
}

// === impl Recorder ===

impl Recorder {
    /// Begins a recording of one lane in a folder that has none yet.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a recording already.
    pub fn create(folder: &Path, lane: &Lane, tables: &Tables) -> Result<Self, RecordingError> {
        let path = folder.join(OBSERVATIONS);
        let failed = |attempt| failed(attempt, &path);
        fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        let file = File::create_new(&path).map_err(failed("make"))?;
        let lane = serde_json::to_string(lane)
            .map_err(|error| failed("describe the lane of")(error.into()))?;
        let metadata =
            HashMap::from([(KEY_VERSION.into(), VERSION.into()), (KEY_LANE.into(), lane)]);
        let schema = Arc::new(Schema::new(fields()).with_metadata(metadata));
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::ZSTD))
            .map_err(|error| arrow(&path, "begin", error))?;
        let writer = StreamWriter::try_new_with_options(BufWriter::new(file), &schema, options)
            .map_err(|error| arrow(&path, "begin", error))?;
        let folder = folder.to_path_buf();
        Ok(Self { folder, writer, schema, tables: tables.clone(), interfaces: 0 })
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, batch: &Batch<Observation>) -> Result<(), RecordingError> {
        let path = self.folder.join(OBSERVATIONS);
        let Batch { from, to, rows, .. } = batch;
        write(self.schema.clone(), *from, *to, rows, &self.tables.names)
            .and_then(|rows| self.writer.write(&rows))
            .and_then(|()| self.writer.flush())
            .map_err(|error| arrow(&path, "write to", error))?;
        self.writer.get_mut().flush().map_err(failed("write to", &path))?;
        self.name_interfaces()
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        let path = self.folder.join(OBSERVATIONS);
        self.writer.finish().map_err(|error| arrow(&path, "end", error))?;
        let file = self.writer.get_mut();
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed("end", &path))
    }

    /// Writes the interfaces when there are new ones, whole or not at all.
    fn name_interfaces(&mut self) -> Result<(), RecordingError> {
        let all = self.tables.interfaces.all();
        if all.len() == self.interfaces {
            return Ok(());
        }
        let path = self.folder.join(INTERFACES);
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(&all)
            .map_err(|error| failed("describe", &path)(error.into()))?;
        fs::write(&new, text).map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("write", &path))?;
        self.interfaces = all.len();
        Ok(())
    }
}

pub(crate) fn failed(
    attempt: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> RecordingError + use<> {
    let path = path.to_path_buf();
    move |source| RecordingError::File { attempt, path, source }
}

fn arrow(path: &Path, attempt: &'static str, error: ArrowError) -> RecordingError {
    failed(attempt, path)(std::io::Error::other(error))
}
