package credential

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func namedContact() *recordv1.ContactBound {
	fill := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	return &recordv1.ContactBound{Epoch: 3, Member: 2, Generation: 4, Contact: &recordv1.Contact{
		Account: fill(0xcc, 32),
		Devices: []*recordv1.ContactDevice{
			{SignKey: fill(1, 33), SealKey: fill(2, 33)},
			{SignKey: fill(3, 33), SealKey: fill(4, 33)},
		},
	}}
}

func TestContactName(t *testing.T) {
	account := [32]byte{0xac}
	key := symmetricKey(t, 7)
	for _, name := range []string{"", "Ann", "Дедушка", strings.Repeat("x", MaxContactName)} {
		for _, paper := range []bool{false, true} {
			bound := namedContact()
			if paper {
				bound.Contact = nil
			}
			sealed, err := SealContactName(rand.Reader, key, account, bound, name)
			if err != nil {
				t.Fatal(err)
			}
			if len(sealed) != 92 {
				t.Errorf("%q is sealed in %d bytes", name, len(sealed))
			}
			bound.SealedName = sealed
			if got, err := OpenContactName(key, account, bound); err != nil || got != name {
				t.Errorf("%q comes back as %q, %v", name, got, err)
			}
		}
	}
}

// A name stays with the contact, the keys and the place that it was given to.
func TestContactNameMoved(t *testing.T) {
	account := [32]byte{0xac}
	key := symmetricKey(t, 7)
	bound := namedContact()
	sealed, err := SealContactName(rand.Reader, key, account, bound, "Ann")
	bound.SealedName = must(t, sealed, err)
	for name, change := range map[string]func(b *recordv1.ContactBound){
		"epoch":           func(b *recordv1.ContactBound) { b.Epoch++ },
		"member":          func(b *recordv1.ContactBound) { b.Member++ },
		"generation":      func(b *recordv1.ContactBound) { b.Generation++ },
		"account":         func(b *recordv1.ContactBound) { b.Contact.Account[0]++ },
		"sign key":        func(b *recordv1.ContactBound) { b.Contact.Devices[1].SignKey[0]++ },
		"seal key":        func(b *recordv1.ContactBound) { b.Contact.Devices[0].SealKey[32]++ },
		"order":           func(b *recordv1.ContactBound) { d := b.Contact.Devices; d[0], d[1] = d[1], d[0] },
		"fewer devices":   func(b *recordv1.ContactBound) { b.Contact.Devices = b.Contact.Devices[:1] },
		"paper":           func(b *recordv1.ContactBound) { b.Contact = nil },
		"sealed name":     func(b *recordv1.ContactBound) { b.SealedName[40] ^= 1 },
		"no sealed name":  func(b *recordv1.ContactBound) { b.SealedName = nil },
		"cut sealed name": func(b *recordv1.ContactBound) { b.SealedName = b.SealedName[:20] },
	} {
		moved := proto.CloneOf(bound)
		change(moved)
		if got, err := OpenContactName(key, account, moved); got != "" || !errors.Is(err, ErrOpen) {
			t.Errorf("another %s: %q, %v", name, got, err)
		}
	}
	if got, err := OpenContactName(key, [32]byte{0xad}, bound); got != "" || !errors.Is(err, ErrOpen) {
		t.Errorf("another account: %q, %v", got, err)
	}
	if got, err := OpenContactName(symmetricKey(t, 8), account, bound); got != "" || !errors.Is(err, ErrOpen) {
		t.Errorf("another key: %q, %v", got, err)
	}
}

func TestContactNameThatIsNone(t *testing.T) {
	account := [32]byte{0xac}
	key := symmetricKey(t, 7)
	for _, name := range []string{strings.Repeat("x", MaxContactName+1), "\xff"} {
		if sealed, err := SealContactName(rand.Reader, key, account, namedContact(), name); sealed != nil || !errors.Is(err, ErrInput) {
			t.Errorf("%q is sealed: %x, %v", name, sealed, err)
		}
	}
	// What a device with a mistake, or a thief with the metadata key, could have sealed.
	for _, c := range []struct {
		name   string
		padded []byte
		want   error
	}{
		{"not padded", []byte("Ann"), ErrPadding},
		{"too long", Pad([]byte(strings.Repeat("x", MaxContactName+1))), ErrInput},
		{"not UTF-8", Pad([]byte{0xff}), ErrInput},
	} {
		bound := namedContact()
		sealed, err := key.Seal(rand.Reader, contactNameContext(account, bound), c.padded)
		bound.SealedName = must(t, sealed, err)
		if got, err := OpenContactName(key, account, bound); got != "" || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// The context's bytes are those of the specification, chapter 3.2.
func TestContactNameContext(t *testing.T) {
	bound := namedContact()
	want := "zeropass/v1/contact-name\x00" +
		"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x00\x00\x00\x20\xac" + strings.Repeat("\x00", 31) +
		"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x03" +
		"\x00\x00\x00\xa4" + strings.Repeat("\xcc", 32) +
		strings.Repeat("\x01", 33) + strings.Repeat("\x02", 33) + strings.Repeat("\x03", 33) + strings.Repeat("\x04", 33) +
		"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x02" +
		"\x00\x00\x00\x04name" + "\x00\x00\x00\x00" + "\x00\x00\x00\x0cgeneration/4"
	if got := contactNameContext([32]byte{0xac}, bound).Encode(); string(got) != want {
		t.Errorf("%q\nwant %q", got, want)
	}
}
