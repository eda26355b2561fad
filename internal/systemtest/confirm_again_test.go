package systemtest

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/device"
)

// cutOff is a network that fails after some confirmations.
type cutOff struct{ left atomic.Int32 }

func (c *cutOff) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == apiv1connect.ServerServiceConfirmProcedure && c.left.Add(-1) < 0 {
		return nil, errors.New("the network is gone")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// Whoever is stopped in the middle of confirming a bulk reveal goes on with the
// requests that are left.
func TestABulkRevealIsConfirmedInTwoGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	var many []device.Item
	for range 600 { // more than one request
		many = append(many, login("site", "x"))
	}
	if r, err := laptop.Import(ctx, many); err != nil || !r.Accepted {
		t.Fatalf("%+v, %v", r, err)
	}
	item, done := w.waits(phone, func() error { _, _, err := laptop.Export(ctx); return err })
	for item.What[0] != "see 601 secrets at once (export)" {
		all, err := phone.Pending(ctx)
		if err != nil || len(all) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		item = &all[0]
	}
	phone.close()
	network := &cutOff{}
	network.left.Store(1)
	o := w.options()
	o.HTTP = &http.Client{Transport: network}
	var err error
	if phone.Device, err = device.Open(ctx, phone.dir, []byte(passphrase), o); err != nil {
		t.Fatal(explained(err))
	}
	_, err = phone.ConfirmPending(ctx, item.ID)
	wantCode(t, err, device.CodeUnreachable)
	network.left.Store(1)
	phone.confirmPending("")
	if err := <-done; err != nil {
		t.Fatal(explained(err))
	}
}
