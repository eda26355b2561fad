package server_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/ledger"
)

// export is a copy of the world's store.
func (w *world) export() []byte {
	w.t.Helper()
	var b bytes.Buffer
	w.ok(w.maintained().Export(w.t.Context(), &b, func(store.Copy) error { return nil }))
	return b.Bytes()
}

// fill makes the store anew from a copy, as zeropass-server restore does, and returns
// which recoveries wait again.
func (w *world) fill(copied []byte) (waiting []ledger.Hash) {
	w.t.Helper()
	w.stop()
	defer w.start()
	w.ok(os.Remove(w.database()))
	s := must(sqlite.Open(w.t.Context(), w.database()))
	w.ok(s.Import(w.t.Context(), bytes.NewReader(copied), func(ctx context.Context, inside store.Maintained) error {
		done, err := server.Check(ctx, inside, w.keys, func(f server.Finding) { w.t.Error(f.What) }, nil)
		w.ok(err)
		waiting = done.Waiting
		return server.BeginAgain(ctx, inside, waiting, w.clock())
	}))
	w.ok(s.Close())
	return waiting
}

// A veto that the restored copy lacks is in time when a device brings it within a
// waiting period of the restore; without one the recovery goes on after that.
func TestVetoSinceTheBackup(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.approved(owner, contacts)
	older := w.export()
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	w.refused(n.release(), api.ErrVetoed)
	vetoed := &apiv1.AppendRequest{Attestation: owner.proof, Entries: [][]byte{owner.entries[len(owner.entries)-1].Bytes()}}
	w.wait(time.Hour)

	for _, brought := range []bool{true, false} {
		if waiting := w.fill(older); !slices.Equal(waiting, []ledger.Hash{n.request.ID()}) {
			t.Errorf("%v wait", waiting)
		}
		if refusal := w.refused(n.release(), api.ErrPeriodNotOver); refusal.RetryAfter != waitingPeriod || refusal.Approvals != 2 {
			t.Errorf("after the restore: %+v", refusal)
		}
		if s := n.status(); s.Ends != uint64(w.clock().Add(waitingPeriod).UnixMilli()) || s.Released {
			t.Errorf("after the restore: %v", s)
		}
		w.wait(waitingPeriod - time.Second)
		w.refused(n.release(), api.ErrPeriodNotOver)
		if brought {
			_, _, err := w.client().Append(t.Context(), owner.first().identity(), vetoed)
			w.ok(err)
		}
		w.wait(time.Second)
		if brought {
			w.refused(n.release(), api.ErrVetoed)
		} else {
			w.ok(n.release())
		}
	}
}

// What was released before the copy was made, and what another recovery has ended,
// does not wait again.
func TestReleasedBeforeTheBackup(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n, other := w.released(owner, contacts), w.approved(owner, contacts)
	if waiting := w.fill(w.export()); !slices.Equal(waiting, []ledger.Hash{other.request.ID()}) {
		t.Errorf("%v wait", waiting)
	}
	w.ok(n.release())
	state, err := n.ledger()
	w.ok(err)
	w.ok(n.takeOver(n.recovered(state)))
	if waiting := w.fill(w.export()); len(waiting) > 0 {
		t.Errorf("%v wait, though the account is recovered", waiting)
	}
}
