// Tests run in English, as the first of the console's languages.

import { showLanguage } from '../src/i18n'

await showLanguage('en')
