pub struct UpstreamKeys;
impl UpstreamKeys {
    pub async fn keys_for(
        &self,
        _: &crate::trust::TrustedIssuer,
        _: carnet_jose::Algorithm,
        _: Option<&str>,
    ) -> Result<std::sync::Arc<carnet_jose::KeySet>, crate::refusal::Refusal> {
        todo!()
    }
}
