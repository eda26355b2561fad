package device

// deviceName opens the name of a device of this account; it is empty where that
// cannot be done.
func (d *Device) deviceName(number uint64) string {
	s := d.home.State()
	if s == nil {
		return ""
	}
	known, ok := s.Device(number)
	if !ok {
		return ""
	}
	g, err := d.generation(s, known.Keys.Generation)
	if err != nil {
		return ""
	}
	var account []byte // Genesis makes it
	if known.Added.Sequence > 1 {
		account = d.keys.Account[:]
	}
	name, err := g.Metadata.Open(deviceNameContext(account, known.SignKey, known.Keys.Generation), known.Keys.SealedName)
	if err != nil {
		return ""
	}
	return string(name)
}
