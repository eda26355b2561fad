package server_test

import (
	"crypto/rand"
	"net/http"
	"slices"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// deviceRequest is what a device asks to be added with.
func (d *device) deviceRequest(change func(*recordv1.DeviceRequest)) []byte {
	r := &recordv1.DeviceRequest{
		Account: d.account.id[:], Nonce: nonce(), SignKey: d.sign.PublicKey().Bytes(), SealKey: d.seal.PublicKey().Bytes(),
		ConfirmKey: d.confirm.PublicKey().Bytes(), Time: uint64(d.w.clock().UnixMilli()), Server: d.w.keys.SignKey().Bytes(),
	}
	if change != nil {
		change(r)
	}
	return must(ledger.NewDeviceRequest(r, d.sign))
}

func (d *device) joins(request []byte) error {
	_, err := d.w.client().Join(d.w.t.Context(), d.newcomerIdentity(), &apiv1.JoinRequest{Request: request})
	return err
}

// joining is who asks to be added, as a device of the account is told.
func (a *account) joining() []*apiv1.Joining {
	a.w.t.Helper()
	all, err := a.client().Joins(a.w.t.Context(), a.first().identity())
	a.w.ok(err)
	return all
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	owner, devices := w.household(1)
	d := owner.newDevice()
	named, err := w.client().Join(t.Context(), api.Identity{Key: d.sign}, &apiv1.JoinRequest{Name: owner.name})
	if w.ok(err); string(named.Account) != string(owner.id[:]) || named.Expires != 0 {
		t.Errorf("the name is %v", named)
	}
	_, err = w.client().Join(t.Context(), api.Identity{Key: d.sign}, &apiv1.JoinRequest{Name: "nobody"})
	w.refused(err, api.ErrUnknownAccount)

	first := d.deviceRequest(nil)
	w.ok(d.joins(first))
	w.ok(d.joins(first))
	request := d.deviceRequest(nil)
	w.wait(time.Minute)
	w.ok(d.joins(request))
	w.restart()
	all := owner.joining()
	if len(all) != 1 || string(all[0].Request) != string(request) || all[0].Received != uint64(w.clock().UnixMilli()) ||
		all[0].Expires != uint64(w.clock().Add(time.Hour).UnixMilli()) {
		t.Fatalf("got %v", all)
	}
	_, err = w.client().Joins(t.Context(), d.newcomerIdentity())
	w.refused(err, api.ErrUnknownDevice)
	w.wait(time.Hour)
	if all := owner.joining(); len(all) != 0 {
		t.Errorf("after an hour there are %v", all)
	}

	another := w.create("another")
	for name, c := range map[string]struct {
		by      *device
		request []byte
		want    api.Reason
	}{
		"bytes":               {d, []byte{0x0a, 5}, api.ErrMalformed},
		"another's request":   {owner.newDevice(), d.deviceRequest(nil), api.ErrUnknownDevice},
		"for another account": {d, d.deviceRequest(func(r *recordv1.DeviceRequest) { r.Account = another.id[:] }), api.ErrMalformed},
		"for another server":  {d, d.deviceRequest(func(r *recordv1.DeviceRequest) { r.Server = r.SignKey }), api.ErrMalformed},
		"a used key":          {d, d.deviceRequest(func(r *recordv1.DeviceRequest) { r.ConfirmKey = devices[0].confirm.PublicKey().Bytes() }), api.ErrMalformed},
		"an old request":      {d, d.deviceRequest(func(r *recordv1.DeviceRequest) { r.Time -= 2 * 3600_000 }), api.ErrClock},
	} {
		t.Run(name, func(t *testing.T) { w.refused(c.by.joins(c.request), c.want) })
	}

	// Once it is added it does not ask any more.
	w.ok(d.joins(d.deviceRequest(nil)))
	q := owner.proposal(owner.deviceAdded(devices[0], d))
	w.ok(owner.sendEndorsed(devices[0], q, []*recordv1.Endorsement{
		devices[0].endorses(q, recordv1.Endorsement_ROLE_CONFIRM), d.endorses(q, asNewDevice),
	}))
	if all := owner.joining(); len(all) != 0 {
		t.Errorf("a device of the account still asks: %v", all)
	}
}

// Whoever knows a name can ask to be added, but neither often, nor so that the
// owner's request is displaced.
func TestAFloodOfJoins(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.household(1)
	h := w.server.Handler()
	join := func(address string) error {
		d := owner.newDevice()
		c := must(client.New(&http.Client{Transport: from{h, address}}, w.http.URL, w.keys.SignKey(), rand.Reader, w.clock))
		_, err := c.Join(t.Context(), d.newcomerIdentity(), &apiv1.JoinRequest{Request: d.deviceRequest(nil)})
		return err
	}
	own := owner.newDevice()
	request := own.deviceRequest(nil)
	w.ok(own.joins(request))
	for range 10 {
		w.ok(join("198.51.100.7:1"))
	}
	if refusal := w.refused(join("198.51.100.7:2"), api.ErrRateLimited); refusal.RetryAfter <= 0 || refusal.RetryAfter > time.Hour {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	for i := range 80 {
		w.ok(join("[2001:db8:5:" + string("0123456789abcdef"[i%16]) + string("0123456789abcdef"[i/16]) + "::1]:1"))
	}
	all := owner.joining()
	if len(all) != 64 || !slices.ContainsFunc(all, func(j *apiv1.Joining) bool { return string(j.Request) == string(request) }) {
		t.Errorf("%d ask; the owner's request is gone, or not all others over the limit", len(all))
	}
}
