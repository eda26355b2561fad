package api

import (
	"encoding/hex"

	"zeropass.dev/zeropass/credential"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// RevealPlace is what the shares in an answer to Reveal are bound to.
type RevealPlace struct {
	Account ledger.AccountID
	Request [32]byte // hash of the request
	Device  uint64   // that asked
}

func (p RevealPlace) context() *signing.Context {
	return signing.Sealing{
		Kind:      "reveal",
		Account:   p.Account[:],
		Object:    p.Request[:],
		Role:      credential.ServerName,
		Sender:    credential.ServerName,
		Recipient: credential.DeviceName(p.Device),
	}.Context()
}

// ReleasePlace is what one page of a release is bound to.
type ReleasePlace struct {
	Account  ledger.AccountID
	Epoch    uint64      // in use
	Recovery ledger.Hash // the recovery request's id
	After    uint64      // as in the ReleaseRequest
}

func (p ReleasePlace) context(to *hpke.PublicKey) *signing.Context {
	return signing.Sealing{
		Kind:      "release",
		Account:   p.Account[:],
		Epoch:     p.Epoch,
		Object:    p.Recovery[:],
		Version:   p.After,
		Role:      credential.ServerName,
		Sender:    credential.ServerName,
		Recipient: "key/" + hex.EncodeToString(to.Bytes()),
	}.Context()
}
