//! One order, from opening it to the certificate (RFC 8555, section 7.4).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

use super::{
    Challenges,
    challenges::Held,
    files::{self, Life, Pair},
    http01::is_token,
    trouble::{Trouble, told},
};
use crate::model::{Acme, AcmeChallenge, KeyType};

/// `decision`: how long the directory may take to look at a challenge, and to make the certificate.
pub(super) async fn order(
    account: &Account,
    settings: &Acme,
    host: &str,
    challenges: &Challenges,
    decision: Duration,
) -> Result<(Pair, Life), Trouble> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let mut order = during("an order", account.new_order(&NewOrder::new(&identifiers)).await)?;
    // Until the directory has looked at them.
    let held = meet(&mut order, settings.challenge, host, challenges).await?;
    let policy = RetryPolicy::new().timeout(decision);
    match order.poll_ready(&policy).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) | Err(instant_acme::Error::Api(_)) => return Err(refusal(&mut order, settings.challenge).await),
        Err(error) => return Err(Trouble::during("the challenge", &error)),
    }
    drop(held);
    let (request, key) = request(host, settings.key_type).map_err(Trouble::new)?;
    during("the order's end", order.finalize_csr(&request).await)?;
    let chain = during("the certificate", order.poll_certificate(&policy).await)?;
    let pair = Pair { chain, key };
    let life = files::examine(&pair, host).map_err(|why| Trouble::new(format!("what the directory sent: {why}")))?;
    Ok((pair, life))
}

fn during<T>(attempt: &str, outcome: Result<T, instant_acme::Error>) -> Result<T, Trouble> {
    outcome.map_err(|error| Trouble::during(attempt, &error))
}

/// Answers what the directory asks for, and tells it to look.
async fn meet(
    order: &mut Order,
    kind: AcmeChallenge,
    host: &str,
    challenges: &Challenges,
) -> Result<Vec<Held>, Trouble> {
    let mut held = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = during("what is to be shown", authorization)?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            // Shown lately, which the directory remembers.
            AuthorizationStatus::Valid => continue,
            other => return Err(Trouble::new(format!("the directory has the authorization as {other:?} at once"))),
        }
        let Some(mut challenge) = authorization.challenge(as_asked(kind)) else {
            return Err(Trouble::new(format!("the directory offers no challenge {} for it", kind.as_str())));
        };
        if !is_token(&challenge.token) {
            return Err(Trouble::new("the token of the challenge is not one of RFC 8555"));
        }
        let shown = challenge.key_authorization();
        held.push(match kind {
            AcmeChallenge::TlsAlpn01 => {
                challenges.hold_certificate(host, shown.digest().as_ref()).map_err(Trouble::new)?
            }
            AcmeChallenge::Http01 => challenges.hold_file(host, &challenge.token, shown.as_str()),
        });
        during("the challenge", challenge.set_ready().await)?;
    }
    Ok(held)
}

fn as_asked(kind: AcmeChallenge) -> ChallengeType {
    match kind {
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        AcmeChallenge::Http01 => ChallengeType::Http01,
    }
}

/// What the directory has against it: the order says less than the challenge (RFC 8555, section 7.1.5).
async fn refusal(order: &mut Order, kind: AcmeChallenge) -> Trouble {
    let of_the_order = order.state().error.as_ref().map(told);
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { break };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Trouble::new(format!("the directory does not accept {}: {}", kind.as_str(), told(problem)));
        }
    }
    let why = of_the_order.unwrap_or_else(|| "no reason given".to_owned());
    Trouble::new(format!("the directory gives the order up: {why}"))
}

/// The signing request in DER, and its new key in PEM.
fn request(host: &str, key_type: KeyType) -> Result<(Vec<u8>, String), String> {
    let told = |error: rcgen::Error| format!("no certificate can be asked for: {error}");
    let algorithm = match key_type {
        KeyType::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
        KeyType::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
    };
    let key = KeyPair::generate_for(algorithm).map_err(told)?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(told)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(told)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}
