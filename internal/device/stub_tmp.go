package device

func (d *Device) recovering() bool { return false }
