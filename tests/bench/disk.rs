//! What making a commit durable costs on the disk under the daemon's state: two of them stand in each vend's way.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::samples::{Samples, Watch};

/// About what one commit appends to SQLite's write-ahead log: a few of its pages.
const BYTES: usize = 16 * 1024;

/// Appends to a file in `directory` and calls fdatasync(2), `count` times.
pub fn appends(directory: &Path, count: usize) -> Samples {
    let path = directory.join("fdatasync");
    let mut file = File::create(&path).expect("a file can be made");
    let block = vec![0x5a; BYTES];
    let mut samples = Samples::default();
    for _ in 0..count {
        let watch = Watch::start();
        file.write_all(&block).and_then(|()| file.sync_data()).expect("the disk takes it");
        samples.0.push(watch.micros());
    }
    std::fs::remove_file(path).expect("the file can be removed");
    samples
}
