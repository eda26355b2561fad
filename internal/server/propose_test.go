package server_test

import (
	"slices"
	"testing"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

const (
	asDevice    = recordv1.Endorsement_ROLE_DEVICE
	asNewDevice = recordv1.Endorsement_ROLE_NEW_DEVICE
)

func (d *device) proposes(q *apiv1.ProposeRequest) *client.Prepared[apiv1.ProposeAnswer] {
	return must(d.w.client().PreparePropose(d.identity(), q))
}

func (d *device) endorsesAt(id [32]byte, q *apiv1.ProposeRequest, role recordv1.Endorsement_Role) error {
	return d.tells(id, &apiv1.ConfirmRequest{Endorsement: d.endorses(q, role)})
}

// newcomerIdentity is how a device asks that is in no ledger yet.
func (d *device) newcomerIdentity() api.Identity {
	return api.Identity{Account: &d.account.id, Key: d.sign}
}

// joinDevice adds a device that all active ones, and itself, endorse through the
// server.
func (a *account) joinDevice() *device {
	a.w.t.Helper()
	author, d := a.first(), a.newDevice()
	q := a.proposal(a.deviceAdded(author, d))
	p := author.proposes(q)
	_, err := p.Send(a.w.t.Context())
	a.w.refused(err, api.ErrConfirmationPending)
	for _, other := range a.state.ActiveDevices() {
		if other.Number != author.number {
			a.w.ok(a.device(other.Number).endorsesAt(p.Hash(), q, asDevice))
		}
	}
	id := p.Hash()
	a.w.ok(a.client().Confirm(a.w.t.Context(), d.newcomerIdentity(), &apiv1.ConfirmRequest{Id: id[:], Endorsement: d.endorses(q, asNewDevice)}))
	answer, err := p.Send(a.w.t.Context())
	a.w.ok(err)
	a.w.ok(a.sendEndorsed(author, q, answer.Endorsements))
	a.devices = append(a.devices, d)
	return d
}

func TestPropose(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	one, two := devices[0], devices[1]
	q := owner.proposal(&recordv1.SlotDeleted{Slot: owner.version(1, 1).Slot})
	p := one.proposes(q)
	_, err := p.Send(t.Context())
	if refusal := w.refused(err, api.ErrConfirmationPending); !slices.Equal(refusal.Devices, []uint64{2}) {
		t.Errorf("%v may answer", refusal.Devices)
	}
	w.wait(3 * time.Minute)
	all := two.waiting()
	if len(all) != 1 {
		t.Fatalf("%d wait", len(all))
	}
	shown := &apiv1.ProposeRequest{}
	w.ok(canonical.Unmarshal(all[0].Request.Body, shown))
	if string(shown.Proposal) != string(q.Proposal) || len(shown.Records) != 1 {
		t.Error("device 2 sees another proposal")
	}
	other := owner.proposal(&recordv1.SlotDeleted{Slot: owner.version(1, 1).Slot})
	w.refused(two.endorsesAt(p.Hash(), other, asDevice), api.ErrConfirmationWrong)
	w.refused(two.says(p.Hash()), api.ErrConfirmationWrong)
	w.refused(one.endorsesAt(p.Hash(), q, asDevice), api.ErrConfirmationWrong)
	w.refused(one.endorsesAt(p.Hash(), q, recordv1.Endorsement_ROLE_CONFIRM), api.ErrConfirmationWrong)
	w.refused(two.endorsesAt(p.Hash(), q, asNewDevice), api.ErrConfirmationWrong)
	w.ok(two.endorsesAt(p.Hash(), q, asDevice))
	w.refused(two.endorsesAt(p.Hash(), q, asDevice), api.ErrReplayed)
	answer, err := p.Send(t.Context())
	w.ok(err)
	again, err := p.Send(t.Context()) // an answer that was lost
	if w.ok(err); len(again.Endorsements) != 1 || len(two.waiting()) != 0 {
		t.Errorf("again there are %d endorsements, and %d wait", len(again.Endorsements), len(two.waiting()))
	}
	w.ok(owner.sendEndorsed(one, q, answer.Endorsements))
	_, err = p.Send(t.Context())
	w.refused(err, api.ErrEntryRefused)
}

func TestProposeRefused(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	good := func() *apiv1.ProposeRequest {
		return owner.proposal(&recordv1.SlotDeleted{Slot: owner.version(1, 1).Slot})
	}
	change := func(f func(*recordv1.Proposal)) *apiv1.ProposeRequest {
		q, p := good(), &recordv1.Proposal{}
		w.ok(canonical.Unmarshal(q.Proposal, p))
		f(p)
		q.Proposal = must(canonical.Marshal(p))
		return q
	}
	expiry := func(in time.Duration) *apiv1.ProposeRequest {
		return change(func(p *recordv1.Proposal) { p.Expiry = uint64(w.clock().Add(in).UnixMilli()) })
	}
	for name, c := range map[string]struct {
		q    *apiv1.ProposeRequest
		want api.Reason
	}{
		"another base":   {change(func(p *recordv1.Proposal) { p.BaseHash = make([]byte, 32) }), api.ErrEntryRefused},
		"an old base":    {change(func(p *recordv1.Proposal) { h, _ := owner.state.Hash(1); p.BaseSequence, p.BaseHash = 1, h[:] }), api.ErrEntryRefused},
		"lives too long": {expiry(time.Hour), api.ErrEntryRefused},
		"is dead":        {expiry(-time.Hour), api.ErrEntryRefused},
		"endorsed already": {change(func(p *recordv1.Proposal) {
			p.Endorsements = []*recordv1.Endorsement{devices[1].endorses(good(), asDevice)}
		}), api.ErrEntryRefused},
		"no records":        {&apiv1.ProposeRequest{Proposal: good().Proposal}, api.ErrEntryRefused},
		"no proposal":       {&apiv1.ProposeRequest{Records: good().Records}, api.ErrEntryRefused},
		"what is no record": {&apiv1.ProposeRequest{Proposal: good().Proposal, Records: [][]byte{[]byte("record")}}, api.ErrEntryRefused},
		"an unknown slot":   {owner.proposal(&recordv1.SlotDeleted{Slot: nonce()}), api.ErrEntryRefused},
		"needs nobody":      {owner.proposal(&recordv1.DeviceLocked{Device: 2}), api.ErrEntryRefused},
		"another server":    {owner.proposal(&recordv1.ServerKeyChanged{Server: &recordv1.Server{Url: "http://localhost", SignKey: devices[0].sign.PublicKey().Bytes(), SealKey: devices[0].seal.PublicKey().Bytes()}}), api.ErrWrongServer},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := devices[0].proposes(c.q).Send(t.Context())
			w.refused(err, c.want)
		})
	}
	if all := devices[1].waiting(); len(all) != 0 {
		t.Errorf("%d wait", len(all))
	}
	alone := w.create("alone")
	alone.prepare(false)
	alone.store(1, 1, "secret")
	_, err := alone.device(1).proposes(alone.proposal(&recordv1.SlotDeleted{Slot: alone.version(1, 1).Slot})).Send(t.Context())
	w.refused(err, api.ErrConfirmationMissing)
}

// Whom a proposal is about has no part in it: neither yes nor no.
func TestSubjectHasNoPart(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(3)
	one, two, three := devices[0], devices[1], devices[2]
	q := owner.proposal(&recordv1.DeviceUnlocked{Device: 3}) // no valid record: 3 is active
	_, err := one.proposes(q).Send(t.Context())
	w.refused(err, api.ErrEntryRefused)
	revoked, _ := owner.revocation(3)
	q = owner.proposal(revoked)
	p := one.proposes(q)
	_, err = p.Send(t.Context())
	if refusal := w.refused(err, api.ErrConfirmationPending); !slices.Equal(refusal.Devices, []uint64{2}) {
		t.Errorf("%v may answer", refusal.Devices)
	}
	w.refused(three.endorsesAt(p.Hash(), q, asDevice), api.ErrConfirmationWrong)
	w.refused(three.refuses(p.Hash()), api.ErrConfirmationWrong)
	w.ok(two.endorsesAt(p.Hash(), q, asDevice))
	answer, err := p.Send(t.Context())
	w.ok(err)
	w.ok(owner.sendEndorsed(one, q, answer.Endorsements))
	w.refused(three.asks().send(), api.ErrDeviceRevoked)
}

// A device that is added endorses with a header without number, and sees nothing
// but what adds it.
func TestNewDeviceEndorses(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(2)
	one, two := devices[0], devices[1]
	hidden := one.asks().waits()
	d, stranger := owner.newDevice(), owner.newDevice()
	q := owner.proposal(owner.deviceAdded(one, d))
	p := one.proposes(q)
	_, err := p.Send(t.Context())
	if refusal := w.refused(err, api.ErrConfirmationPending); !slices.Equal(refusal.Devices, []uint64{0, 2}) {
		t.Errorf("%v may answer", refusal.Devices)
	}
	see := func(d *device) []*apiv1.Waiting {
		all, err := w.client().Pending(t.Context(), d.newcomerIdentity())
		w.ok(err)
		return all
	}
	if all := see(d); len(all) != 1 || api.RequestHash(all[0].Request) != p.Hash() {
		t.Errorf("the new device sees %v", all)
	}
	if all := see(stranger); len(all) != 0 {
		t.Errorf("a stranger sees %v", all)
	}
	tell := func(d *device, id [32]byte, c *apiv1.ConfirmRequest) error {
		c.Id = id[:]
		return w.client().Confirm(t.Context(), d.newcomerIdentity(), c)
	}
	w.refused(tell(stranger, p.Hash(), &apiv1.ConfirmRequest{Endorsement: stranger.endorses(q, asNewDevice)}), api.ErrUnknownPending)
	w.refused(tell(stranger, p.Hash(), &apiv1.ConfirmRequest{Refuse: true}), api.ErrUnknownPending)
	w.refused(tell(d, hidden.Hash(), &apiv1.ConfirmRequest{Refuse: true}), api.ErrUnknownPending)
	w.refused(tell(d, p.Hash(), &apiv1.ConfirmRequest{Endorsement: d.endorses(q, asDevice)}), api.ErrConfirmationWrong)
	w.refused(tell(d, p.Hash(), &apiv1.ConfirmRequest{Endorsement: two.endorses(q, asDevice)}), api.ErrConfirmationWrong)
	w.ok(tell(d, p.Hash(), &apiv1.ConfirmRequest{Endorsement: d.endorses(q, asNewDevice)}))
	w.refused(tell(d, p.Hash(), &apiv1.ConfirmRequest{Endorsement: d.endorses(q, asNewDevice)}), api.ErrReplayed)
	_, err = p.Send(t.Context())
	if refusal := w.refused(err, api.ErrConfirmationPending); !slices.Equal(refusal.Devices, []uint64{2}) {
		t.Errorf("%v may still answer", refusal.Devices)
	}
	w.ok(two.endorsesAt(p.Hash(), q, asDevice))
	answer, err := p.Send(t.Context())
	w.ok(err)
	w.ok(owner.sendEndorsed(one, q, answer.Endorsements))
	if d, ok := owner.state.Device(3); !ok || d.Status != ledger.Active {
		t.Error("there is no third device")
	}
}

// What changes under a proposal ends it before anybody endorses in vain.
func TestProposalGetsStale(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(3)
	q := owner.proposal(&recordv1.SlotDeleted{Slot: owner.version(1, 1).Slot})
	p := devices[0].proposes(q)
	_, err := p.Send(t.Context())
	w.refused(err, api.ErrConfirmationPending)
	owner.add(&recordv1.DeviceLocked{Device: 3})
	_, err = p.Send(t.Context())
	w.refused(err, api.ErrEntryRefused)
}
