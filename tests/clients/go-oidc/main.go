// OpenID Connect with golang.org/x/oauth2 and go-oidc: discovery, the code flow with PKCE, a verified ID token, userinfo.
//
// Reads one JSON document, as the scripts beside it do, and prints one. SSL_CERT_FILE names the authority of the server.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

type client struct {
	ClientID    string `json:"clientId"`
	Secret      string
	RedirectURI string `json:"redirectUri"`
}

var given struct {
	Issuer, Browser, RedirectURI, Resource string
	Shop, Tool                             client
}

// follow returns the parameters with which the person's browser comes back.
func follow(authorizationURL, decision string) (url.Values, error) {
	query := url.Values{"url": {authorizationURL}, "decision": {decision}}
	answer, err := http.Get(given.Browser + "?" + query.Encode())
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	back, err := url.Parse(string(text))
	if err != nil {
		return nil, err
	}
	return back.Query(), nil
}

func signIn(ctx context.Context, provider *oidc.Provider, client client) (map[string]any, error) {
	config := oauth2.Config{
		ClientID: client.ClientID, ClientSecret: client.Secret, RedirectURL: client.RedirectURI,
		Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}
	verifier, state, nonce := oauth2.GenerateVerifier(), rand.Text(), rand.Text()
	asked := config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	back, err := follow(asked, "allow")
	if err != nil {
		return nil, err
	}
	if back.Get("state") != state || back.Get("iss") != given.Issuer {
		return nil, errors.New("an answer to another request: " + back.Encode())
	}
	token, err := config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	idToken, err := provider.Verifier(&oidc.Config{ClientID: client.ClientID}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if idToken.Nonce != nonce {
		return nil, errors.New("the ID token answers another request")
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		return nil, err
	}
	_, otherAudience := provider.Verifier(&oidc.Config{ClientID: "another"}).Verify(ctx, raw)
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, err
	}
	var claims, userinfo map[string]any
	if err := errors.Join(idToken.Claims(&claims), info.Claims(&userinfo)); err != nil {
		return nil, err
	}
	_, again := config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
	var refusal *oauth2.RetrieveError
	if !errors.As(again, &refusal) {
		return nil, errors.New("a code was good twice")
	}
	return map[string]any{
		"claims": claims, "userinfo": userinfo, "otherAudience": otherAudience.Error(), "again": refusal.ErrorCode,
	}, nil
}

func main() {
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, given.Issuer)
	if err != nil {
		log.Fatal(err)
	}
	given.Shop.RedirectURI = given.RedirectURI
	seen := map[string]any{}
	for name, client := range map[string]client{"shop": given.Shop, "tool": given.Tool} {
		if seen[name], err = signIn(ctx, provider, client); err != nil {
			log.Fatal(name, ": ", err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}
