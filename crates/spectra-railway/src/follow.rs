//! Following a deployment: told of its changes, instead of asking all the time.

use std::time::Duration;

use spectra_types::DeploymentId;
use tokio::sync::watch;

use crate::client::Client;
use crate::deployment::DeploymentStatus;
use crate::gql::{FollowDeployment, follow_deployment};
use crate::subscribe::{Subscription, Told};

/// Why a wait for a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChange {
    /// Railway told of this status. A hint and no verdict, since words may come late and in disorder: read the
    /// deployment.
    Pushed(DeploymentStatus),
    /// Nothing was told in time; something may have happened all the same.
    Elapsed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    status: DeploymentStatus,
    stopped: bool,
}

/// Tells when a deployment has changed, see [`Client::follow_deployment`].
#[derive(Debug)]
pub struct DeploymentFeed {
    client: Client,
    deployment: DeploymentId,
    states: watch::Receiver<Option<State>>,
    /// Kept: dropping it completes the subscription.
    _subscription: Option<Subscription>,
}

impl Client {
    /// Follows a deployment from now on, over the one WebSocket that all subscriptions of this client share.
    ///
    /// Opening that costs one request of the budget, following costs none. There is no failure: a feed that cannot be
    /// opened, is cut, refused or falls silent comes back by itself, and meanwhile [`DeploymentFeed::changed`] is a
    /// plain wait. Behind a proxy it always is. Dropping the feed ends the subscription.
    #[must_use]
    pub fn follow_deployment(&self, deployment: &DeploymentId) -> DeploymentFeed {
        let (sender, states) = watch::channel(None);
        let variables = follow_deployment::Variables { id: deployment.to_string() };
        let expected = deployment.to_string();
        let listener = move |data| {
            let Ok(data) = serde_json::from_value::<follow_deployment::ResponseData>(data) else {
                return Told::Fine;
            };
            let told = data.deployment;
            if told.id == expected {
                let state = Some(State { status: told.status, stopped: told.deployment_stopped });
                // What is told twice is no change.
                sender.send_if_modified(|known| {
                    let news = *known != state;
                    *known = state;
                    news
                });
            }
            Told::Fine
        };
        DeploymentFeed {
            client: self.clone(),
            deployment: deployment.clone(),
            states,
            _subscription: self.subscribe::<FollowDeployment>(variables, Box::new(listener)),
        }
    }
}

impl DeploymentFeed {
    /// The deployment that is followed.
    #[must_use]
    pub const fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    /// Returns as soon as Railway told of a status that the last call did not return, at the latest after `at_most`.
    /// What was told between two calls is not lost. The first status told counts as a change, for what the caller
    /// knows may be older. Sends no request.
    pub async fn changed(&mut self, at_most: Duration) -> FeedChange {
        let client = self.client.clone();
        tokio::select! {
            // Something that has been told wins over a wait of no time.
            biased;
            state = next(&mut self.states) => FeedChange::Pushed(state.status),
            () = client.sleep(at_most) => FeedChange::Elapsed,
        }
    }
}

async fn next(states: &mut watch::Receiver<Option<State>>) -> State {
    loop {
        if states.changed().await.is_err() {
            // Nobody will tell anything: the caller waits out its time.
            return std::future::pending().await;
        }
        if let Some(state) = states.borrow_and_update().clone() {
            return state;
        }
    }
}
