package device

import (
	"context"
	"errors"
	"testing"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
)

// Only the server's signed word makes a request wait, and only after it a server
// that is away for a moment is waited for.
func TestSendAgain(t *testing.T) {
	t.Parallel()
	pending := &api.Refusal{Reason: api.ErrConfirmationPending, Signed: true}
	for name, c := range map[string]struct {
		answers []error
		left    int
		err     error
	}{
		"answered":             {[]error{nil}, 0, nil},
		"answered, not again":  {[]error{nil, errors.New("sent twice")}, 0, nil},
		"waits":                {[]error{pending, pending}, 1, nil},
		"waits, then answered": {[]error{pending, pending, nil}, 0, nil},
		"away while it waits":  {[]error{pending, client.ErrUnreachable, api.ErrUnavailable}, 1, nil},
		"away before":          {[]error{client.ErrUnreachable}, 0, client.ErrUnreachable},
		"unsigned word":        {[]error{&api.Refusal{Reason: api.ErrConfirmationPending}}, 0, api.ErrConfirmationPending},
		"refused":              {[]error{pending, &api.Refusal{Reason: api.ErrConfirmationRefused, Signed: true}}, 0, api.ErrConfirmationRefused},
		"another answer":       {[]error{pending, client.ErrDishonest}, 0, client.ErrDishonest},
	} {
		answers := c.answers
		a := &asked{send: func(context.Context) error {
			err := answers[0]
			answers = answers[1:]
			return err
		}}
		var left int
		var err error
		for range c.answers {
			if left, err = sendAgain(context.Background(), []*asked{a}); err != nil {
				break
			}
		}
		if left != c.left || !errors.Is(err, c.err) {
			t.Errorf("%s: %d left, %v", name, left, err)
		}
	}
}

func TestPickPending(t *testing.T) {
	t.Parallel()
	items := []PendingItem{{ID: "aa11"}, {ID: "aa22", Cannot: "it is this device's own"}, {ID: "bb33", Cannot: "it is old"}}
	for query, want := range map[string]string{"": "aa11", "AA1": "aa11", " bb ": "bb33", "aa22": "aa22", "aa": "", "cc": ""} {
		item, err := PickPending(items, query)
		if (err != nil) != (want == "") || err == nil && item.ID != want {
			t.Errorf("%q: %v, %v", query, item, err)
		}
	}
	if item, err := PickPending(items[1:], ""); err == nil {
		t.Errorf("%v, which cannot be confirmed here", item)
	}
	if item, err := PickPending([]PendingItem{{ID: "aa11"}, {ID: "bb22"}}, ""); err == nil {
		t.Errorf("%v, one of two", item)
	}
}
