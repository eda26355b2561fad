package ledger

import (
	"reflect"
	"time"
)

// checkSummary wants a summary of the state to say what the state says.
func checkSummary(w *world) {
	w.t.Helper()
	s, m := w.state, w.state.Summary()
	if m.Account() != s.Account() || m.Head() != s.Head() || !m.Time().Equal(s.Time()) {
		w.t.Fatal("a summary is of another state")
	}
	if m.UsedEpoch() != s.UsedEpoch() || m.WaitingPeriod() != s.WaitingPeriod() {
		w.t.Fatalf("epoch %d, waiting period %v in a summary", m.UsedEpoch(), m.WaitingPeriod())
	}
	if e := s.InUse(); e != nil && (e.Number != m.UsedEpoch() || e.WaitingPeriod() != m.WaitingPeriod()) {
		w.t.Fatalf("epoch %d, waiting period %v in a summary, not of the epoch in use", m.UsedEpoch(), m.WaitingPeriod())
	}
	for _, at := range []time.Duration{0, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour} {
		now := s.Time().Add(at)
		if got, want := m.Policy(now), s.Policy(now); !reflect.DeepEqual(got, want) {
			w.t.Fatalf("the policy is %v in a summary, not %v", got, want)
		}
	}
	if !reflect.DeepEqual(m.Devices(), s.Devices()) || !reflect.DeepEqual(m.ActiveDevices(), s.ActiveDevices()) {
		w.t.Fatal("a summary has other devices")
	}
	for number := range s.NextDevice() + 1 {
		got, ok := m.Device(number)
		if want, there := s.Device(number); got != want || ok != there {
			w.t.Fatalf("device %d is another one in a summary", number)
		}
	}
	for _, slot := range append(s.Slots(), &Slot{ID: SlotID{1}}, &Slot{ID: SlotID{255}}) {
		for version := range slot.Version + 2 {
			for epoch := range s.NextEpoch() + 1 {
				want := slot.VersionPut(version, epoch) != nil
				if got := m.HasVersion(slot.ID, version, epoch); got != want || s.HasVersion(slot.ID, version, epoch) != want {
					w.t.Fatalf("slot %v, version %d, epoch %d in a summary: %v", slot.ID, version, epoch, got)
				}
			}
		}
	}
}
