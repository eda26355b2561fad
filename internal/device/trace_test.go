package device

import (
	"testing"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

func TestTrace(t *testing.T) {
	o := newOwner(t)
	o.devices[2], o.devices[3] = newKey(t), newKey(t)
	stranger := newOwner(t)
	stranger.devices[2] = o.devices[2]
	d := contactDevice(t, o)
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	root := o.epoch(1).root
	altered := o.list(1, root, 3)
	altered.Devices[0].SignKey = o.devices[2].PublicKey().Bytes()
	altered.Devices[0].Device = 2
	for _, tt := range []struct {
		name     string
		envelope []byte
		want     bool
	}{
		{"the same device", o.envelope(2, 1, nil, nil), true},
		{"a new device that the root key left alone after a recovery", o.envelope(2, 2, o.list(1, root, 2), nil), true},
		{"one of several that it left", o.envelope(3, 2, o.list(1, root, 2, 3), nil), true},
		{"a new device that nobody vouches for", o.envelope(2, 2, nil, nil), false},
		{"a list without it", o.envelope(2, 2, o.list(1, root, 3), nil), false},
		{"a list that was altered", o.envelope(2, 2, altered, nil), false},
		{"a list by another epoch's root key", o.envelope(2, 2, o.list(1, o.epoch(2).root, 2), nil), false},
		{"a list for another epoch", o.envelope(2, 2, o.list(2, root, 2), nil), false},
		{"the list of an EpochPrepared", o.envelope(2, 2, o.listOfKind("device-list", 1, root, 2), nil), false},
		{"a list without a signature", o.envelope(2, 2, &recordv1.DeviceList{Epoch: 1, Devices: o.list(1, root, 2).Devices}, nil), false},
		{"another account's list", stranger.envelope(2, 2, o.list(1, root, 2), nil), false},
		{"a known number with another key", o.envelope(2, 2, nil, func(e *recordv1.ShareEnvelope) { e.Device, e.Devices[0].Device = 1, 1 }), false},
		{"the known device named, another signs", o.envelope(2, 2, nil, func(e *recordv1.ShareEnvelope) {
			e.Device, e.Devices = 1, []*recordv1.OwnerDevice{{Device: 1, SignKey: o.devices[1].PublicKey().Bytes()}}
		}), false},
		{"no envelope", []byte("no envelope"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := d.traced(tt.envelope)
			if err != nil || got != tt.want {
				t.Errorf("traced %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// introduced is an envelope with what leads to the device that signed it.
func (o *testOwner) introduced(number, device uint64, list *recordv1.DeviceList, entries ...[]byte) []byte {
	o.t.Helper()
	outer := &recordv1.SignedShareEnvelope{}
	if err := canonical.Unmarshal(o.envelope(number, device, list, nil), outer); err != nil {
		o.t.Fatal(err)
	}
	outer.Introductions = entries
	return must[[]byte](o.t)(canonical.Marshal(outer))
}

func TestTraceThroughDeviceAdded(t *testing.T) {
	o := newOwner(t)
	for n := uint64(2); n <= 4; n++ {
		o.devices[n] = newKey(t)
	}
	stranger := newOwner(t)
	stranger.devices = o.devices
	d := contactDevice(t, o)
	o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
	first, second, third := o.devices[1], o.devices[2], o.devices[3]
	list := o.list(1, o.epoch(1).root, 3)
	for _, tt := range []struct {
		name    string
		list    *recordv1.DeviceList
		entries [][]byte
		want    bool
	}{
		{"added by one that is named", nil, [][]byte{o.adds(1, 4, first)}, true},
		{"added by one that was added", nil, [][]byte{o.adds(1, 2, first), o.adds(2, 4, second)}, true},
		{"after what nobody knows", nil, [][]byte{o.adds(3, 2, third), o.adds(1, 4, first)}, true},
		{"added by one that recovered", list, [][]byte{o.adds(3, 4, third)}, true},
		{"nothing leads to it", nil, nil, false},
		{"another one was added", nil, [][]byte{o.adds(1, 2, first)}, false},
		{"added by one that nobody knows", nil, [][]byte{o.adds(3, 4, third)}, false},
		{"signed with its own key", nil, [][]byte{o.adds(1, 4, o.devices[4])}, false},
		{"signed as another one", nil, [][]byte{o.adds(2, 4, first)}, false},
		{"a link is missing", nil, [][]byte{o.adds(2, 4, second)}, false},
		{"the newest first", nil, [][]byte{o.adds(2, 4, second), o.adds(1, 2, first)}, false},
		{"another account's entry", nil, [][]byte{stranger.adds(1, 4, first)}, false},
		{"another record", nil, [][]byte{o.entry(1, 20, first, &recordv1.DeviceLocked{Device: 4})}, false},
		{"no entry", nil, [][]byte{[]byte("no entry"), {}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := d.traced(o.introduced(2, 4, tt.list, tt.entries...))
			if err != nil || got != tt.want {
				t.Errorf("traced %v, %v; want %v", got, err, tt.want)
			}
		})
	}
	// A number that is known has the key that is known.
	other := newOwner(t)
	other.account, other.devices = o.account, map[uint64]*signing.PrivateKey{1: newKey(t)}
	if got, err := d.traced(other.introduced(2, 1, nil, other.adds(1, 1, first))); err != nil || got {
		t.Errorf("device 1 has another key now: traced %v, %v", got, err)
	}
}

// The list that a recovering device keeps is the one that its contacts follow.
func TestKeptDeviceListIsTraced(t *testing.T) {
	o := newOwner(t)
	contact, recovered := contactDevice(t, o), contactDevice(t, o)
	o.account = recovered.keys.Account
	o.devices[2] = recovered.keys.Sign.(*signing.PrivateKey)
	o.hold(contact, 1, o.envelope(1, 1, nil, nil), nil)
	if list, err := recovered.recoveredList(); list != nil || err != nil {
		t.Fatalf("a list before any recovery: %v, %v", list, err)
	}
	if err := recovered.keepDeviceList(o.epoch(1).root, 1, 2); err != nil {
		t.Fatal(err)
	}
	list, err := recovered.recoveredList()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := contact.traced(o.envelope(2, 2, list, nil)); !ok || err != nil {
		t.Errorf("traced %v, %v", ok, err)
	}
}

func TestAnOldShareGoesOnlyForAProvedSuccessor(t *testing.T) {
	o := newOwner(t)
	for n := uint64(2); n <= 4; n++ {
		o.devices[n] = newKey(t)
	}
	introductions := [][]byte{o.adds(2, 3, o.devices[2]), o.adds(1, 4, o.devices[1])}
	head := ledger.Hash{9}
	proved := func(device, epoch uint64) *recordv1.ProvedHead {
		return &recordv1.ProvedHead{Device: o.attestation(device, epoch, 20, head), Server: o.attestation(0, epoch, 20, head)}
	}
	traced := o.envelope(2, 2, o.list(1, o.epoch(1).root, 2), nil)
	for _, tt := range []struct {
		name string
		next []byte
		head *recordv1.ProvedHead
		gone bool
	}{
		{"committed, by a traced device", traced, proved(2, 2), true},
		{"committed long ago", traced, proved(2, 5), true},
		{"committed, by one that it added", traced, proved(3, 2), true},
		{"by one that another device added", traced, proved(4, 2), false},
		{"not committed", traced, proved(2, 1), false},
		{"no head", traced, nil, false},
		{"a device that cannot be traced", o.envelope(2, 2, nil, nil), proved(2, 2), false},
		{"attested by a device that the envelope does not name", traced, proved(1, 2), false},
		{"the server attests an earlier epoch", traced, &recordv1.ProvedHead{Device: o.attestation(2, 2, 20, head), Server: o.attestation(0, 1, 20, head)}, false},
		{"the server attests another head", traced, &recordv1.ProvedHead{Device: o.attestation(2, 2, 20, head), Server: o.attestation(0, 2, 20, ledger.Hash{8})}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := contactDevice(t, o)
			o.hold(d, 1, o.envelope(1, 1, nil, nil), nil)
			o.hold(d, 2, tt.next, tt.head, introductions...)
			other := newOwner(t)
			other.hold(d, 1, other.envelope(1, 1, nil, nil), nil)
			if err := d.forgetHeld(&SyncResult{}); err != nil {
				t.Fatal(err)
			}
			left, err := d.wholeShares(o.account)
			if err != nil {
				t.Fatal(err)
			}
			if gone := len(left) == 1 && left[0].id.Epoch == 2; gone != tt.gone || !gone && len(left) != 2 {
				t.Errorf("%d shares left, the old one gone: %v, want %v", len(left), gone, tt.gone)
			}
			if others, err := d.wholeShares(other.account); err != nil || len(others) != 1 {
				t.Errorf("another account's share: %d left, %v", len(others), err)
			}
		})
	}
}
