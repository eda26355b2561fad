package device

import (
	"slices"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// shown has the contact note what the server shows of a request.
func shown(t *testing.T, d *Device, r *seenRequest, vetoes ...[]byte) (warnings []string) {
	t.Helper()
	shares, err := d.wholeShares()
	if err != nil {
		t.Fatal(err)
	}
	warnings, err = d.note(r, &apiv1.Recovery{Request: r.Request, Name: "owner", Epoch: 1, Quorum: 2, Vetoes: vetoes}, shares)
	if err != nil {
		t.Fatal(err)
	}
	return warnings
}

func TestVetoesAsContactsAreShownThem(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	request := o.request()
	id := request.ID()
	veto := func(of []byte) *recordv1.RecoveryVetoed { return &recordv1.RecoveryVetoed{Request: of} }
	other := o.request().ID()
	stranger := newOwner(t)
	signed := o.entry(1, 11, o.devices[1], veto(id[:]))
	for _, tt := range []struct {
		name     string
		entry    []byte
		counts   bool
		verified bool
	}{
		{"by a device that the envelope names", signed, true, true},
		{"by a device that came later", o.entry(4, 11, newKey(t), veto(id[:])), true, false},
		{"in a known device's name", o.entry(1, 11, newKey(t), veto(id[:])), false, false},
		{"of another request", o.entry(1, 11, o.devices[1], veto(other[:])), false, false},
		{"in another account's ledger", stranger.entry(1, 11, o.devices[1], veto(id[:])), false, false},
		{"an entry with something else", o.entry(1, 11, o.devices[1], &recordv1.EpochCommitted{Epoch: 1}), false, false},
		{"no entry", []byte("no entry"), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &seenRequest{Request: request.Bytes(), FirstSeen: time.Now(), Decision: Undecided, parsed: request}
			r.decide(Approved, time.Now())
			warnings := shown(t, d, r, tt.entry)
			if counts := len(r.Vetoes) == 1; counts != tt.counts || counts == (len(warnings) > 0) {
				t.Fatalf("%d vetoes, warnings %q", len(r.Vetoes), warnings)
			}
			if tt.counts && (r.Vetoes[0].Verified != tt.verified || r.Decision != Undecided || !r.Voided) {
				t.Errorf("%+v, %s", r.Vetoes[0], r.Decision)
			}
			if !tt.counts && r.Decision != Approved {
				t.Errorf("what is no veto voided the approval: %s", r.Decision)
			}
		})
	}
}

func TestVetoesAreKeptInLedgerOrder(t *testing.T) {
	o := newOwner(t)
	o.devices[2] = newKey(t)
	d := contactDevice(t, o)
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	request := o.request()
	id := request.ID()
	first := o.entry(2, 11, o.devices[2], &recordv1.RecoveryVetoed{Request: id[:]})
	second := o.entry(1, 12, o.devices[1], &recordv1.RecoveryVetoed{Request: id[:]})
	want := []ledger.Hash{must[*ledger.Entry](t)(ledger.ParseEntry(first)).Hash(), must[*ledger.Entry](t)(ledger.ParseEntry(second)).Hash()}
	for name, order := range map[string][][][]byte{
		"at once":               {{first, second}},
		"out of order":          {{second, first}},
		"one after the other":   {{first}, {first, second}},
		"the later one earlier": {{second}, {first, second}},
		"twice":                 {{first, second, first}, {first, second}},
		"hidden again":          {{first, second}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &seenRequest{Request: request.Bytes(), FirstSeen: time.Now(), Decision: Undecided, parsed: request}
			for _, vetoes := range order {
				shown(t, d, r, vetoes...)
			}
			var got []ledger.Hash
			for _, v := range r.Vetoes {
				got = append(got, v.Entry)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			stored, err := d.seenRequests()
			if err != nil || len(stored) != 1 || len(stored[0].Vetoes) != 2 {
				t.Errorf("%d requests stored, %v", len(stored), err)
			}
		})
	}
}

// The contact's own wait counts from what it saw itself, whatever times the
// server tells.
func TestTheOwnWaitIsTheContactsOwn(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	now := time.Now()
	d.o.Now = func() time.Time { return now }
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	request := o.request()
	id := request.ID()
	r := &seenRequest{Request: request.Bytes(), FirstSeen: now, Decision: Undecided, parsed: request}
	shares, err := d.wholeShares()
	if err != nil {
		t.Fatal(err)
	}
	due := func() time.Duration { return d.describe(r, shares).Due.Sub(now) }
	shown(t, d, r)
	if due() != time.Hour {
		t.Fatalf("due in %v", due())
	}
	now = now.Add(50 * time.Minute)
	shown(t, d, r)
	if due() != 10*time.Minute {
		t.Fatalf("due in %v after 50 minutes", due())
	}
	veto := o.entry(1, 11, o.devices[1], &recordv1.RecoveryVetoed{Request: id[:]})
	shown(t, d, r, veto)
	now = now.Add(30 * time.Minute)
	shown(t, d, r, veto)
	if due() != 30*time.Minute {
		t.Errorf("due in %v, half an hour after a veto was seen", due())
	}
}

func TestRequestsThatConcernNobodyHere(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	shares, err := d.wholeShares()
	if err != nil {
		t.Fatal(err)
	}
	stranger := newOwner(t)
	moved := newOwner(t)
	moved.account = o.account
	for _, tt := range []struct {
		name     string
		request  *ledger.RecoveryRequest
		concerns bool
		warns    bool
	}{
		{"for an account whose share is kept here", o.request(), true, false},
		{"for another account", stranger.request(), false, false},
		{"at another server", moved.request(), false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			concerned, warnings := d.concerned(tt.request, shares)
			if concerned != tt.concerns || len(warnings) > 0 != tt.warns {
				t.Errorf("%v, %q", concerned, warnings)
			}
		})
	}
}

// A share of another epoch than the one in use cannot approve, and says so.
func TestShareOfAnotherEpoch(t *testing.T) {
	o := newOwner(t)
	d := contactDevice(t, o)
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	shares, err := d.wholeShares()
	if err != nil {
		t.Fatal(err)
	}
	request := o.request()
	r := &seenRequest{Request: request.Bytes(), FirstSeen: time.Now(), Decision: Undecided, parsed: request, Epoch: 2}
	if got := d.describe(r, shares); got.Cannot == "" || !got.Due.IsZero() {
		t.Errorf("%q, due %v", got.Cannot, got.Due)
	}
	if got := d.describe(r, nil); got.Cannot == "" {
		t.Error("without a share it can approve")
	}
	r.Epoch = 1
	if got := d.describe(r, shares); got.Cannot != "" || got.Due.IsZero() {
		t.Errorf("%q, due %v", got.Cannot, got.Due)
	}
}
