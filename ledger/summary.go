package ledger

import (
	"cmp"
	"slices"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Summary is what a ledger says now of its devices, of the policy and of which versions
// of slots there are: all that most requests are decided on, reveals among them. It takes a small part of the
// memory of a [State], which keeps every ciphertext and every hash, and it never
// changes. It may be used concurrently.
type Summary struct {
	account  AccountID
	head     Head
	time     uint64
	policy   policy
	epoch    uint64
	waiting  time.Duration
	devices  []*Device // by number
	versions []version // in ascending order, each once
}

// version is one version of a slot as it is split in an epoch.
type version struct {
	slot           SlotID
	version, epoch uint64
}

func (v version) compare(other version) int {
	return cmp.Or(v.slot.compare(other.slot), cmp.Compare(v.version, other.version), cmp.Compare(v.epoch, other.epoch))
}

// Summary returns what the ledger says now.
func (s *State) Summary() *Summary {
	m := &Summary{
		account: s.account, head: s.Head(), time: s.time, policy: s.policy,
		epoch: s.inUse, waiting: s.WaitingPeriod(), devices: s.Devices(),
	}
	n := 0
	for _, slot := range s.slots {
		n += len(slot.puts)
	}
	m.versions = make([]version, 0, n)
	for id, slot := range s.slots {
		for _, put := range slot.puts {
			m.versions = append(m.versions, version{id, put.Version, put.Epoch})
		}
	}
	slices.SortFunc(m.versions, version.compare)
	m.versions = slices.Compact(m.versions)
	return m
}

// Account is [State.Account].
func (m *Summary) Account() AccountID { return m.account }

// Head is [State.Head].
func (m *Summary) Head() Head { return m.head }

// Time is [State.Time].
func (m *Summary) Time() time.Time { return timeOf(m.time) }

// Policy is [State.Policy].
func (m *Summary) Policy(now time.Time) *recordv1.Policy {
	return m.policy.at(uint64(now.UnixMilli()))
}

// UsedEpoch is [State.UsedEpoch].
func (m *Summary) UsedEpoch() uint64 { return m.epoch }

// WaitingPeriod is [State.WaitingPeriod].
func (m *Summary) WaitingPeriod() time.Duration { return m.waiting }

// Device is [State.Device].
func (m *Summary) Device(number uint64) (*Device, bool) {
	i, ok := slices.BinarySearchFunc(m.devices, number, func(d *Device, number uint64) int { return cmp.Compare(d.Number, number) })
	if !ok {
		return nil, false
	}
	return m.devices[i], true
}

// Devices is [State.Devices]. Nobody may change the list.
func (m *Summary) Devices() []*Device { return m.devices }

// ActiveDevices is [State.ActiveDevices].
func (m *Summary) ActiveDevices() []*Device { return activeOf(m.devices) }

// HasVersion is [State.HasVersion].
func (m *Summary) HasVersion(slot SlotID, number, epoch uint64) bool {
	_, ok := slices.BinarySearchFunc(m.versions, version{slot, number, epoch}, version.compare)
	return ok
}

// About how many bytes of memory a summary takes.
const (
	summarySize = 512
	deviceSize  = 1536
	versionSize = 32
)

// Size returns about how many bytes of memory the summary takes, with its devices.
func (m *Summary) Size() int64 {
	return summarySize + int64(len(m.devices))*deviceSize + int64(len(m.versions))*versionSize
}
