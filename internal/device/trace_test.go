package device

import (
	"testing"

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
	o.devices[2] = newKey(t)
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
			o.hold(d, 2, tt.next, tt.head)
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
