package recovery

import (
	"bytes"
	"testing"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// Whoever may send a contact a message chooses the bytes of an envelope, and signs
// them: what is admitted re-encodes identically, and has what others read on.
func FuzzParseEnvelope(f *testing.F) {
	key, err := signing.NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	public := key.PublicKey().Bytes()
	seed, err := canonical.Marshal(&recordv1.ShareEnvelope{
		Account: make([]byte, 32), Epoch: 1, Member: 1, Members: 3, Quorum: 2, WaitingPeriod: 60,
		ShareKey: public, RootKey: public, Server: &recordv1.Server{SignKey: public},
		Device: 1, Devices: []*recordv1.OwnerDevice{{Device: 1, SignKey: public}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		signed, err := canonical.Marshal(&recordv1.SignedShareEnvelope{
			Envelope: b, Signature: key.Sign(signing.NewContext("share-envelope").Bytes(b)),
		})
		if err != nil {
			t.Fatal(err)
		}
		e, err := ParseEnvelope(signed)
		if err != nil {
			if e != nil {
				t.Error("an envelope beside an error")
			}
			return
		}
		again, err := canonical.Marshal(e)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x encodes as %x, %v", b, again, err)
		}
		if len(e.Account) != 32 || e.Server == nil || e.Member == 0 || e.Member > e.Members || e.Quorum > e.Members || e.WaitingPeriod == 0 {
			t.Errorf("%v is admitted", e)
		}
	})
}
