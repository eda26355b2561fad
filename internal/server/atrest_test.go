package server_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"testing"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// Whoever takes the database finds nothing of what it keeps secret: no share, no
// webhook's secret, no request that waits, and not what they are made of.
func TestDatabaseAloneIsUseless(t *testing.T) {
	w := newAlarmed(t)
	owner, _ := w.family()
	const canary = "a note that nobody finds"
	owner.store(1, 1, canary)
	secret := random(notify.SecretSize)
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL, WebhookSecret: secret}))
	other := owner.addDevice()
	waiting := random(notify.SecretSize) // of a request that waits for the other device
	_ = owner.setBy(owner.first(), &apiv1.AlarmSettings{Webhook: w.hook.URL + "/other", WebhookSecret: waiting}, func(*apiv1.SignedRequest) {})

	things := must(w.maintained().EncryptedBeside(t.Context(), owner.id))
	things = append(things, must(w.maintained().Encrypted(t.Context(), owner.id, "", 1000))...)
	kinds := map[store.EncryptedKind]int{}
	plain := [][]byte{[]byte(canary), secret, waiting}
	others := must(server.GenerateKeys(rand.Reader))
	for _, e := range things {
		kinds[e.Kind]++
		opened := must(server.OpenEncrypted(w.keys, e))
		if e.Kind != store.EncryptedRequest { // of which parts are known to all
			plain = append(plain, opened)
		}
		if b, err := server.OpenEncrypted(others, e); err == nil {
			t.Errorf("another server's keys open %x", b)
		}
	}
	if len(kinds) != 4 {
		t.Errorf("encrypted are %v, device %d", kinds, other.number)
	}
	w.stop()
	defer w.start()
	database := must(os.ReadFile(w.database()))
	for _, b := range plain {
		if bytes.Contains(database, b) {
			t.Errorf("the database has %q in the clear", b)
		}
	}
	if !bytes.Contains(database, []byte(owner.name)) {
		t.Error("the search finds nothing at all")
	}
}
