//! The GitHub Action and the GitLab template.
