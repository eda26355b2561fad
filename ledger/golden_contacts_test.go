package ledger

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// What people's devices say to each other, and a server to them, is no entry, but
// is kept as long: TestContactsGolden compares its bytes with annotated files,
// reads those, and finds the signatures that the specification asks for.
func TestContactsGolden(t *testing.T) {
	w := newWorld(t, 2)
	owner, contact, root, share := w.keys(), w.keys(), w.signKey(), w.signKey()
	account, helper := w.bytes(32), w.bytes(32)
	at := &recordv1.Server{Url: "https://zeropass.example", SignKey: w.server.sign.PublicKey().Bytes(), SealKey: w.server.seal.PublicKey().Bytes()}
	halves := []*recordv1.SealedHalf{{SealKey: contact.seal.PublicKey().Bytes(), Sealed: w.bytes(40)}}

	invitation := &recordv1.Invitation{Account: account, Server: at, Secret: w.bytes(16), Name: "Ada", SignKey: owner.sign.PublicKey().Bytes(), Expiry: 1_790_604_800_000}
	goldenMessage(t, "invitation", invitation)

	listed := &recordv1.ListedDevice{Device: 2, SignKey: owner.sign.PublicKey().Bytes(), SealKey: owner.seal.PublicKey().Bytes(), ConfirmKey: owner.confirm.PublicKey().Bytes()}
	list := &recordv1.DeviceList{Epoch: 1, Devices: []*recordv1.ListedDevice{listed}}
	listContext := signing.NewContext("recovered-device-list").Bytes(account).Uint(1).Count(1).
		Uint(2).Bytes(listed.SignKey).Bytes(listed.SealKey).Bytes(listed.ConfirmKey)
	list.Signature = root.Sign(listContext)
	goldenMessage(t, "device-list", list)

	envelope := mustBytes(t, &recordv1.ShareEnvelope{
		Account: account, Epoch: 2, Member: 1, ShareKey: share.PublicKey().Bytes(), RootKey: root.PublicKey().Bytes(),
		Contact:    &recordv1.Contact{Account: helper, Devices: []*recordv1.ContactDevice{{SignKey: contact.sign.PublicKey().Bytes(), SealKey: contact.seal.PublicKey().Bytes()}}},
		Identifier: 4711, Quorum: 2, Members: 3, WaitingPeriod: 259_200,
		Devices: []*recordv1.OwnerDevice{{Device: 2, SignKey: owner.sign.PublicKey().Bytes()}}, Device: 2, Server: at, Halves: halves,
		Tag: w.bytes(32), DeviceHalfHash: w.bytes(32), ServerHalfHash: w.bytes(32), Author: 2,
	})
	signedEnvelope := &recordv1.SignedShareEnvelope{}
	read := goldenMessage(t, "share-envelope", &recordv1.SignedShareEnvelope{
		Envelope: envelope, Signature: owner.sign.Sign(signing.NewContext("share-envelope").Bytes(envelope)), Recovered: list,
	})
	must(t, canonical.Unmarshal(read, signedEnvelope))
	if !owner.sign.PublicKey().Verify(signing.NewContext("share-envelope").Bytes(signedEnvelope.Envelope), signedEnvelope.Signature) {
		t.Error("the envelope's signature is none")
	}
	if !root.PublicKey().Verify(listContext, signedEnvelope.Recovered.Signature) {
		t.Error("the device list's signature is none")
	}

	half := mustBytes(t, &recordv1.ServerHalf{Account: account, Epoch: 2, Member: 1, Contact: helper, Halves: halves, ShareKey: share.PublicKey().Bytes()})
	read = goldenMessage(t, "server-half", &recordv1.SignedServerHalf{Half: half, Signature: w.server.sign.Sign(signing.NewContext("server-half").Bytes(half))})
	signedHalf := &recordv1.SignedServerHalf{}
	must(t, canonical.Unmarshal(read, signedHalf))
	if !w.server.sign.PublicKey().Verify(signing.NewContext("server-half").Bytes(signedHalf.Half), signedHalf.Signature) {
		t.Error("the server half's signature is none")
	}
}

// goldenMessage is golden for a message that has no hash, and reads it strictly.
func goldenMessage(t *testing.T, name string, m proto.Message) []byte {
	t.Helper()
	b := golden(t, "contacts/"+name, m.ProtoReflect().Descriptor(), mustBytes(t, m), Hash{})
	read := m.ProtoReflect().New().Interface()
	must(t, canonical.Unmarshal(b, read))
	if !bytes.Equal(mustBytes(t, read), b) {
		t.Errorf("%s: read and written again it is another", name)
	}
	return b
}

func mustBytes(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := canonical.Marshal(m)
	must(t, err)
	return b
}
