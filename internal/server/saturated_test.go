package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
)

// floods asks for reveals from many clients at once until it is stopped.
func (w *world) floods(clients int, devices ...*device) (stop func()) {
	w.t.Helper()
	var bodies [][]byte
	for _, d := range devices {
		r, _, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, w.keys.SignKey(), d.identity(),
			&apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{d.account.version(1, 1)}, Purpose: api.PurposeGet}, w.clock(), rand.Reader)
		w.ok(err)
		bodies = append(bodies, must(proto.Marshal(r)))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for ctx.Err() == nil {
				r := must(http.NewRequestWithContext(ctx, http.MethodPost, w.http.URL+apiv1connect.ServerServiceRevealProcedure, bytes.NewReader(bodies[i%len(bodies)])))
				r.Header.Set("Content-Type", "application/proto")
				if answer, err := transport.RoundTrip(r); err == nil {
					_ = answer.Body.Close()
				}
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
		transport.CloseIdleConnections()
	}
}

func (w *world) admission(class string) server.Admission {
	w.t.Helper()
	for _, a := range w.server.Admissions() {
		if a.Class == class {
			return a
		}
	}
	w.t.Fatalf("no class %s", class)
	return server.Admission{}
}

// Under more reveals than the server can answer, all that stops a thief or is a step
// of a recovery goes through, and what keeps a person working too.
func TestSaturated(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	owner.store(1, 1, "one")
	second := owner.addDevice()
	var devices []*device
	for _, a := range contacts {
		a.prepare(false)
		a.store(1, 1, "one")
		devices = append(devices, a.first())
	}
	w.listens()
	stop := w.floods(300, devices...)
	for until := time.Now().Add(patience); w.admission("reveal").Shed == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			stop()
			t.Fatalf("nothing is refused: %+v", w.server.Admissions())
		}
	}
	_, _, err := owner.seedHalf(owner.first()) // as for a new epoch
	w.ok(err)
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	n := w.recover(owner)
	_, err = n.start()
	w.ok(err)
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	for i, contact := range contacts[:2] {
		w.ok(n.approve(contact, uint64(i+1)))
	}
	if got := n.status(); got.Approvals != 2 {
		t.Errorf("%d approvals", got.Approvals)
	}
	shed := w.admission("reveal").Shed
	stop()
	w.wait(waitingPeriod)
	w.ok(n.release())
	if shed == 0 || w.admission("urgent").Shed > 0 || w.admission("daily").Shed > 0 {
		t.Errorf("refused: %+v", w.server.Admissions())
	}
}
