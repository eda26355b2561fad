package systemtest

import (
	"context"
	"errors"
	"testing"

	"zeropass.dev/zeropass/internal/device"
)

// Strangers who know the name have asked too: the words that the person reads out
// tell the contact which request is theirs.
func TestTheSpokenWordsPickTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob", "cleo")
	w.befriend(owner, contacts...)
	for _, c := range contacts {
		c.sync()
	}
	w.newDevice("olivia")
	_, started := w.newDevice("olivia")
	w.newDevice("olivia")
	ann := contacts[0]
	_, err := ann.Approve(context.Background(), device.ApproveOptions{Phrase: "academic acid acne acquire acrobat activity actress adapt"})
	if !errors.Is(err, device.ErrPhrase) {
		t.Errorf("words of no device: %v", err)
	}
	if r := w.approve(ann, started.Phrase); r.Request.ID != started.Request || r.Request.Phrase != started.Phrase {
		t.Errorf("approved %v, want %v", r.Request.ID, started.Request)
	}
}
