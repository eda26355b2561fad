package device

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// poisons calls each with the message as it is without each of its fields, also
// of those inside.
func poisons(m proto.Message, each func(field string)) {
	var walk func(at protoreflect.Message, path string)
	walk = func(at protoreflect.Message, path string) {
		at.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			name := path + string(field.Name())
			at.Clear(field)
			each(name)
			at.Set(field, value)
			switch {
			case field.IsList() && field.Message() != nil:
				for i := range value.List().Len() {
					walk(value.List().Get(i).Message(), name+".")
				}
			case !field.IsList() && field.Message() != nil:
				walk(value.Message(), name+".")
			}
			return true
		})
	}
	walk(m.ProtoReflect(), "")
}

// Whoever may send a message chooses its bytes. One that lacks something, signed
// or not, is worth nothing or waits, and does not keep the device from dealing
// with the next.
func TestMessagesThatLackSomething(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	if err := d.trustOwner(o.account, "owner", o.devices[1].PublicKey().Bytes()); err != nil {
		t.Fatal(err)
	}
	h := o.split(d)
	dealt := 0
	deal := func(field string, kind apiv1.Message_Kind, m proto.Message) {
		t.Helper()
		body, err := canonical.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		dealt++
		err = d.deal(context.Background(), &apiv1.Message{Kind: kind, Body: body}, &SyncResult{})
		if err != nil && !errors.Is(err, errWorthless) && !errors.Is(err, errLater) {
			t.Errorf("%v without %s: %v", kind, field, err)
		}
	}

	envelope, outer := &recordv1.ShareEnvelope{}, &recordv1.SignedShareEnvelope{}
	ok(t, canonical.Unmarshal(h.envelope(nil), outer))
	outer.Recovered = o.list(1, o.epoch(1).root, 1)
	ok(t, canonical.Unmarshal(outer.Envelope, envelope))
	poisons(outer, func(field string) { deal(field, apiv1.Message_KIND_SHARE_ENVELOPE, outer) })
	poisons(envelope, func(field string) {
		b := must[[]byte](t)(canonical.Marshal(envelope))
		deal(field, apiv1.Message_KIND_SHARE_ENVELOPE, &recordv1.SignedShareEnvelope{
			Envelope: b, Signature: o.devices[1].Sign(signing.NewContext("share-envelope").Bytes(b)),
		})
	})
	half, signed := &recordv1.ServerHalf{}, &recordv1.SignedServerHalf{}
	ok(t, canonical.Unmarshal(h.server(o.server, nil), signed))
	ok(t, canonical.Unmarshal(signed.Half, half))
	poisons(signed, func(field string) { deal(field, apiv1.Message_KIND_SERVER_HALF, signed) })
	poisons(half, func(field string) {
		b := must[[]byte](t)(canonical.Marshal(half))
		deal(field, apiv1.Message_KIND_SERVER_HALF, &recordv1.SignedServerHalf{
			Half: b, Signature: o.server.Sign(signing.NewContext("server-half").Bytes(b)),
		})
	})
	head := &recordv1.ProvedHead{Device: o.attestation(1, 1, 3, [32]byte{1}), Server: o.attestation(0, 1, 3, [32]byte{1})}
	poisons(head, func(field string) { deal(field, apiv1.Message_KIND_OWNER_HEAD, &recordv1.OwnerHead{Head: head}) })
	o.devices[2] = newKey(t)
	introduced := &recordv1.OwnerHead{
		Head:          &recordv1.ProvedHead{Device: o.attestation(2, 1, 3, [32]byte{1}), Server: o.attestation(0, 1, 3, [32]byte{1})},
		Introductions: [][]byte{o.adds(1, 2, o.devices[1])},
	}
	poisons(introduced, func(field string) { deal(field, apiv1.Message_KIND_OWNER_HEAD, introduced) })
	for _, kind := range []apiv1.Message_Kind{
		apiv1.Message_KIND_INVITATION_ANSWER, apiv1.Message_KIND_SHARE_ENVELOPE, apiv1.Message_KIND_SERVER_HALF, apiv1.Message_KIND_OWNER_HEAD, 99,
	} {
		deal("everything", kind, &recordv1.ShareReceipt{})
		deal("a holder", kind, &recordv1.ShareReceipt{Epoch: 1, Signature: make([]byte, 64)})
	}
	if dealt < 40 {
		t.Errorf("only %d messages", dealt)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
