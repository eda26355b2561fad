package server

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// verifiedHeads makes and knows what the store has beside a head of which this
// server, or another with its keys, has verified the ledger: a MAC, which only they
// can make. What a ledger says at that head is then known but for its bytes, and the
// chain of hashes proves those, so that no signature need be verified again. A head
// without it, or with that of another head, is as good as any: its ledger is
// verified, and the next append notes it.
type verifiedHeads struct{ key []byte }

func newVerifiedHeads(keys *Keys) (verifiedHeads, error) {
	key, err := hkdf.Key(sha256.New, keys.sign.Bytes(), nil, "zeropass verified heads", sha256.Size)
	return verifiedHeads{key}, err
}

// note returns what is to stand beside the head. Only for what was folded may it be
// asked.
func (v verifiedHeads) note(id ledger.AccountID, head ledger.Head) [sha256.Size]byte {
	return v.noteOf(ledger.RulesVersion, id, head)
}

func (v verifiedHeads) noteOf(rules uint64, id ledger.AccountID, head ledger.Head) [sha256.Size]byte {
	mac := hmac.New(sha256.New, v.key)
	_, _ = mac.Write(signing.NewContext("verified-head").Uint(rules).Bytes(id[:]).Uint(head.Sequence).Bytes(head.Hash[:]).Encode())
	return [sha256.Size]byte(mac.Sum(nil))
}

// has says whether the account's head is one that was verified.
func (v verifiedHeads) has(a store.Account) bool {
	want := v.note(a.ID, a.Head)
	return hmac.Equal(want[:], a.Verified[:])
}
