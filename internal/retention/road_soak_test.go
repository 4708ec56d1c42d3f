//go:build soak

package retention

// roadMessages is how many messages go the whole road.
const roadMessages = 5000
