// The bundler takes this CommonJS module's exports for its default: give what the components expect.

import exported from 'react-custom-scrollbars-2/lib/index.js'

export default exported.Scrollbars
