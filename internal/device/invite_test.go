package device

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// frozenInvitation is what version 1 of the text is. Package ledger has its bytes
// in testdata/golden/contacts/invitation.txt.
const frozenInvitation = "zeropass-invite-1:CiCO2P8_LBTZWYTnjShUlOCmN9_J3XbJ0pJjlxniHZe4AhJgChhodHRwczovL3plcm9wYXNzLmV4YW1wbGUSIQJ1tOBIUmredxOaC6fW1Dpm72RkSFW6SwgxuQXc4MKKixohA8E6rli3RNIj0pKPxOo2fgpqSFRXRn86H7Rc_h1NioE8GhDxnICa5ZWvMkH68vz4Cn-pIgNBZGEqIQPkQxejXYTMB6zv299VVmFLQJ0ipDojmPVT4QFzSL5yXzCA4PPCjjQ"

func testInvitation(t *testing.T) *recordv1.Invitation {
	t.Helper()
	return &recordv1.Invitation{
		Account: bytes.Repeat([]byte{1}, 32), Server: &recordv1.Server{Url: "https://zeropass.example"},
		Secret: bytes.Repeat([]byte{2}, inviteSecretSize), Name: "Ada", SignKey: newKey(t).PublicKey().Bytes(), Expiry: 1800000000000,
	}
}

func invitationText(t *testing.T, i *recordv1.Invitation) string {
	t.Helper()
	return invitePrefix + base64.RawURLEncoding.EncodeToString(must[[]byte](t)(canonical.Marshal(i)))
}

func TestParseInvitation(t *testing.T) {
	if i, err := parseInvitation(frozenInvitation); err != nil || i.Name != "Ada" || i.Expiry != 1_790_604_800_000 {
		t.Errorf("version 1: %v, %v", i, err)
	}
	for name, change := range map[string]func(*recordv1.Invitation){
		"short account":    func(i *recordv1.Invitation) { i.Account = i.Account[:31] },
		"no server":        func(i *recordv1.Invitation) { i.Server = nil },
		"long secret":      func(i *recordv1.Invitation) { i.Secret = append(i.Secret, 0) },
		"no key":           func(i *recordv1.Invitation) { i.SignKey = nil },
		"a key that is no": func(i *recordv1.Invitation) { i.SignKey[0] = 9 },
		"no expiry":        func(i *recordv1.Invitation) { i.Expiry = 0 },
		"expiry beyond":    func(i *recordv1.Invitation) { i.Expiry = 1 << 63 },
	} {
		i := testInvitation(t)
		if _, err := parseInvitation(invitationText(t, i)); err != nil {
			t.Fatal(err)
		}
		change(i)
		if got, err := parseInvitation(invitationText(t, i)); got != nil || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A later expiry in the text gives another key: the owner cannot open the answer.
func TestAnExpiryCannotBePutOff(t *testing.T) {
	text := testInvitation(t)
	now := time.UnixMilli(int64(text.Expiry)).Add(-time.Hour)
	owner := ledger.AccountID(text.Account)
	answer := &recordv1.InvitationAnswer{Name: "Ben", Contact: &recordv1.Contact{
		Account: bytes.Repeat([]byte{3}, 32), Devices: []*recordv1.ContactDevice{{SignKey: text.SignKey, SealKey: text.SignKey}},
	}}
	take := func(expiry uint64, now time.Time) *invitation {
		t.Helper()
		book := &contactBook{Invitations: []*invitation{{Label: "ben", Secret: bytes.Clone(text.Secret), Expiry: time.UnixMilli(int64(text.Expiry))}}}
		changed := &recordv1.Invitation{Account: text.Account, Secret: text.Secret, Expiry: expiry}
		sealed := must[[]byte](t)(sealAnswer(rand.Reader, changed, answer))
		return must[*invitation](t)(book.takeAnswer(owner, sealed, now))
	}
	if i := take(text.Expiry, now); i == nil || i.contact() == nil || i.Secret != nil {
		t.Errorf("the right answer: %+v", i)
	}
	if i := take(text.Expiry+1, now); i != nil {
		t.Error("an answer to an expiry that was put off")
	}
	if i := take(text.Expiry, now.Add(time.Hour)); i == nil || i.contact() != nil || i.Secret != nil {
		t.Errorf("a late answer: %+v", i)
	}
}

// What is read is written back the same, but for white space; what is not read
// gives nothing.
func FuzzInvitation(f *testing.F) {
	f.Add(frozenInvitation)
	f.Add(" " + invitePrefix + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := parseInvitation(text)
		if err != nil {
			if i != nil {
				t.Fatal("an invitation and an error")
			}
			return
		}
		if again := invitationText(t, i); again != strings.Join(strings.Fields(text), "") {
			t.Fatalf("read %q, written %q", text, again)
		}
	})
}
