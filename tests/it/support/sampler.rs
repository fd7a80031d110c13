//! Records the counts of streams during a test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use tokio::{
    task::JoinHandle,
    time::{Duration, sleep, timeout},
};

use super::{PATIENCE, TestApp};

/// A count as a stream has sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub channel: String,
    pub count: Option<u64>,
    pub stale: bool,
}

/// Records every count of a stream.
pub struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<()>,
}

impl Sampler {
    /// Opens `sse/ana` or `sse?channels=ana,bob`.
    pub async fn on(app: &TestApp, path: &str) -> Self {
        let mut stream = app.sse(path).await;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&samples);
        let task = tokio::spawn(async move {
            while let Some(event) = stream.0.next().await {
                if event.event == "message" {
                    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                    lock(&kept).push(Sample {
                        channel: data["channelId"].as_str().unwrap().to_owned(),
                        count: data["count"].as_u64(),
                        stale: data["stale"].as_bool().unwrap(),
                    });
                }
            }
        });
        Self { samples, task }
    }

    /// All samples so far.
    pub fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }

    /// Waits until the newest sample of a channel has this count and is not stale.
    pub async fn until_fresh(&self, channel: &str, count: u64) {
        let expected = Sample { channel: channel.to_owned(), count: Some(count), stale: false };
        let reached = async {
            while lock(&self.samples).iter().rev().find(|sample| sample.channel == channel) != Some(&expected)
            {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{expected:?} in {:?}", self.samples()));
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}
