package server_test

import (
	"bytes"
	"context"
	"database/sql"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/ledger"
)

const keptHook = "https://hooks.example.test/a-path-that-nobody-guesses"

// askAlarms prepares a change of where alarms go, with a secret, that has to wait.
func (w *alarmed) askAlarms(d *device, secret []byte) *client.Prepared[apiv1.SetAlarmsAnswer] {
	w.t.Helper()
	q := must(w.client().PrepareSetAlarms(d.identity(), &apiv1.SetAlarmsRequest{
		Settings: &apiv1.AlarmSettings{Webhook: keptHook, WebhookSecret: secret},
	}, nil))
	_, err := q.Send(w.t.Context())
	w.refused(err, api.ErrConfirmationPending)
	return q
}

// request is what the store has of a request that waited.
func (w *alarmed) request(id ledger.Hash) []byte {
	return must(w.store.Kept(w.t.Context(), id)).Request
}

// swapKept exchanges what stands in the database of two requests that wait.
func (w *alarmed) swapKept(a, b ledger.Hash) {
	w.t.Helper()
	sealed := map[ledger.Hash][]byte{a: w.request(b), b: w.request(a)}
	database := must(sql.Open("sqlite", w.database()))
	for id, request := range sealed {
		must(database.Exec(`UPDATE kept SET request = $1 WHERE id = $2`, request, id[:]))
	}
	w.ok(database.Close())
}

// What waits for other devices is in the database under the server's key, and no
// longer than it waits.
func TestKeptRequestsAtRest(t *testing.T) {
	w := newAlarmed(t)
	_, devices := w.household(2)
	one, two := devices[0], devices[1]
	secret := random(notify.SecretSize)
	q := w.askAlarms(one, secret)
	inTheClear := func(database []byte) bool {
		return bytes.Contains(database, secret) || bytes.Contains(database, []byte(keptHook))
	}
	database := w.backup()
	sealed := w.request(q.Hash())
	if inTheClear(database) || !bytes.Contains(database, sealed[:64]) {
		t.Error("the request is not in the database, or it stands there in the clear")
	}
	all := two.waiting()
	if len(all) != 1 || !bytes.Contains(all[0].Request.Body, secret) {
		t.Fatalf("the other device is shown %v", all)
	}

	// Nobody puts it into the place of another.
	other := w.askAlarms(one, random(notify.SecretSize))
	w.swapKept(q.Hash(), other.Hash())
	if _, err := w.client().Pending(t.Context(), two.identity()); err == nil {
		t.Error("two requests were exchanged in the database, and shown")
	}
	w.swapKept(q.Hash(), other.Hash())

	w.ok(two.refuses(other.Hash()))
	w.ok(two.says(q.Hash()))
	q = must(w.client().PrepareSetAlarms(one.identity(), &apiv1.SetAlarmsRequest{}, nil)) // no secret any more
	_, err := q.Send(t.Context())
	w.refused(err, api.ErrConfirmationPending)
	w.ok(two.says(q.Hash()))
	_, err = q.Send(t.Context())
	w.ok(err)
	for _, id := range []ledger.Hash{other.Hash(), q.Hash()} {
		if len(w.request(id)) != 0 {
			t.Error("a request that is over is still there")
		}
	}
}

func TestExpiredRequestsAreErased(t *testing.T) {
	for name, read := range map[string]func(w *alarmed, one, two *device, q *client.Prepared[apiv1.SetAlarmsAnswer]){
		"by looking": func(_ *alarmed, _, two *device, _ *client.Prepared[apiv1.SetAlarmsAnswer]) { two.waiting() },
		"by asking again": func(w *alarmed, _, _ *device, q *client.Prepared[apiv1.SetAlarmsAnswer]) {
			_, err := q.Send(w.t.Context())
			w.refused(err, api.ErrConfirmationExpired)
		},
		"by themselves": func(w *alarmed, _, _ *device, q *client.Prepared[apiv1.SetAlarmsAnswer]) {
			ctx, stop := context.WithCancel(w.t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.server.Deliver(ctx)
			}()
			for range 1000 {
				if len(w.request(q.Hash())) == 0 {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			stop()
			<-done
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAlarmed(t)
			_, devices := w.household(2)
			secret := random(notify.SecretSize)
			q := w.askAlarms(devices[0], secret)
			w.wait(api.PendingLife - time.Millisecond)
			w.ok(w.store.EraseKept(t.Context(), w.clock()))
			sealed := w.request(q.Hash())
			if len(sealed) == 0 {
				t.Fatal("erased while it waits")
			}
			w.wait(time.Millisecond)
			read(w, devices[0], devices[1], q)
			if len(w.request(q.Hash())) != 0 || bytes.Contains(w.backup(), sealed[:64]) {
				t.Error("a request that has expired is still in the database")
			}
		})
	}
}
