package server_test

import (
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// Entries with vetoes are shown with every request that they veto, to the new device
// and to all contacts. Whoever has one device must not make them so large, or so
// many, that nobody can be told how a recovery stands.
func TestVetoesAreSmall(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	n := w.recover(owner)
	_, err := n.start()
	w.ok(err)

	records, shares := owner.put(1, 1, "large")
	entry := owner.draft(owner.first(), append(records, &recordv1.RecoveryVetoed{Request: n.id()})...)
	w.refused(owner.send(owner.first(), []*ledger.Entry{entry}, shares), api.ErrEntryRefused)
	entry = owner.draft(owner.first(), &recordv1.RecoveryVetoed{Request: n.id()}, &recordv1.RecoveryVetoed{Request: random(32)})
	w.refused(owner.send(owner.first(), []*ledger.Entry{entry}, nil), api.ErrEntryRefused)

	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	if vetoes := n.status().Vetoes; len(vetoes) != 1 || len(vetoes[0]) > 512 {
		t.Errorf("%d vetoes are shown", len(vetoes))
	}
	shown, err := w.client().Recoveries(t.Context(), contacts[0].first().identity())
	if w.ok(err); len(shown) != 1 || len(shown[0].Vetoes) != 1 {
		t.Errorf("a contact is shown %v", shown)
	}
}
