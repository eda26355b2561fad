package api

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// fuzzKey signs what is fuzzed, so that reading goes on behind the signature.
var fuzzKey = must(signing.NewPrivateKey(bytes.Repeat([]byte{7}, 32)))

// A request's header and body are anybody's bytes, signed: what is admitted
// re-encodes identically, alone and as the activity log keeps it.
func FuzzParseRequest(f *testing.F) {
	message, _, err := NewRequest(procedure, fuzzKey.PublicKey(), Identity{Account: &ledger.AccountID{7}, Device: 3, Key: fuzzKey}, &apiv1.RevealRequest{Purpose: PurposeGet}, now, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message.Header, message.Body)
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, header, body []byte) {
		message := &apiv1.SignedRequest{Header: header, Body: body, Signature: fuzzKey.Sign(signing.NewContext("api-request").Bytes(header))}
		r, err := ParseRequest(procedure, message)
		if err != nil {
			return
		}
		if again := must(canonical.Marshal(r.Header)); !bytes.Equal(again, header) {
			t.Errorf("%x encodes as %x", header, again)
		}
		if q := (&apiv1.RevealRequest{}); r.Decode(q) == nil {
			if again := must(canonical.Marshal(q)); !bytes.Equal(again, body) {
				t.Errorf("%x encodes as %x", body, again)
			}
		}
		if _, _, err := ParseLogged(must(canonical.Marshal(message))); err != nil {
			t.Errorf("what was admitted cannot be logged: %v", err)
		}
	})
}

// Nothing but the pinned server's own words, about this request, are believed.
func FuzzOpenAnswer(f *testing.F) {
	_, hash, err := NewRequest(procedure, fuzzKey.PublicKey(), Identity{Key: fuzzKey}, &apiv1.RevealRequest{}, now, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, []byte{})
	body := must(proto.Marshal(&apiv1.RevealAnswer{Sealed: []byte{1}}))
	digest := sha256.Sum256(body)
	f.Add(must(canonical.Marshal(&apiv1.AnswerHeader{RequestHash: hash[:], Time: 1, BodyHash: digest[:]})), body)
	other := newKey()
	f.Fuzz(func(t *testing.T, header, body []byte) {
		context := signing.NewContext("api-answer").Bytes(header)
		by := func(key *signing.PrivateKey) error {
			return OpenAnswer(fuzzKey.PublicKey(), hash, &apiv1.SignedAnswer{Header: header, Body: body, Signature: key.Sign(context)}, &apiv1.RevealAnswer{})
		}
		if by(other) == nil {
			t.Error("somebody else's answer is believed")
		}
		if by(fuzzKey) != nil {
			return
		}
		h := &apiv1.AnswerHeader{}
		digest := sha256.Sum256(body)
		if err := canonical.Unmarshal(header, h); err != nil || !bytes.Equal(h.RequestHash, hash[:]) || !bytes.Equal(h.BodyHash, digest[:]) || h.Reason != 0 {
			t.Errorf("%v is believed for %x", h, hash)
		}
	})
}
